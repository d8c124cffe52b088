// The panel of fix mode below the buttons: where it stands, a note, and its keys.

const TOOLS = { click: "click, drag for a box", box: "box", draw: "brush", erase: "eraser" };
export const HINTS = [
  ["click", "on it"],
  ["alt click", "not on it (also right click)"],
  ["drag", "a box, begins afresh (also b)"],
  ["d", "brush"],
  ["e", "eraser"],
  ["[ ]", "size of the brush"],
  ["h", "not visible here"],
  ["c", "clear mask and memory"],
  ["p P", "preview on, back"],
  ["n", "add an object"],
  ["x", "split here"],
  ["ctrl z", "take back"],
  ["0", "take all back"],
  ["enter", "save"],
  ["esc", "leave"],
];

export function fillPanel(fix) {
  const { panel } = fix.app;
  if (!panel.firstChild) panel.append(...parts());
  const [line, note] = panel.children, words = fix.note?.text ?? "";
  line.textContent = fix.status || (fix.preview.isOn ? fix.preview.words : stateWords(fix));
  note.className = `fix-note ${fix.note?.kind ?? ""}`;
  if (note.textContent !== words) note.textContent = words;
  panel.hidden = false;
  panel.dataset.state = stateName(fix);
}

/** They stay while the mode is on: a reader of the screen says what changes in a note that it knows. */
function parts() {
  const line = document.createElement("div"), note = document.createElement("div"), keys = document.createElement("div");
  line.className = "fix-state";
  note.setAttribute("role", "status");
  keys.className = "fix-keys";
  for (const [key, words] of HINTS) {
    const one = document.createElement("span"), name = document.createElement("kbd");
    name.textContent = key;
    one.append(name, ` ${words}`);
    keys.append(one, " ");
  }
  return [line, note, keys];
}

function stateName({ status, preview, now }) {
  if (status) return "busy";
  if (preview.isOn) return preview.isRunning ? "previewing" : "preview";
  return now ? "open" : "waiting";
}

function stateWords({ now, pointer, corrections }) {
  const tool = `${TOOLS[pointer.tool]}${pointer.isBrush ? `, ${2 * pointer.radius} px` : ""}`;
  if (!now) return tool;
  const mask = now.is_hidden ? "not visible here" : now.counts === null ? "no mask yet" : `${now.area.toLocaleString("en")} px`;
  const score = now.score === null ? "" : `predicted IoU ${now.score.toFixed(2)}`;
  const saved = now.isSaved ? (now.splitInto ? `split: object ${now.splitInto} begins here` : "saved") : now.num_said ? "not saved" : "";
  const time = corrections.milliseconds && now.num_said ? `${Math.round(corrections.milliseconds)} ms` : "";
  return [`object ${now.object_id}${now.is_added ? " (new)" : ""}`, mask, score, tool, saved, time].filter(Boolean).join(" · ");
}
