// The keys of the page, and the window that lists them.

export const KEYS = [
  ["a", "accept", "accept: the track is good"],
  ["r", "reject", "reject: it is bad, and not worth mending"],
  ["f", "fix", "fix: correct it, or say that it should be"],
  ["s", "skip", "skip: later, or somebody else"],
  ["u", "undo", "take back what you said last"],
  ["c", "comment", "write a comment, saved with the verdict"],
  ["g", "named", "name the category, saved with the verdict"],
  ["d", "doubt", "the doubtful frame"],
  [" ", "play", "play or pause"],
  ["ArrowRight", "forth", "one frame on; with shift ten"],
  ["ArrowLeft", "back", "one frame back; with shift ten"],
  ["b", "before", "frames before the first one with masks (also ← there)"],
  ["Home", "first", "the first frame"],
  ["End", "last", "the last frame"],
  [",", "slower", "play slower"],
  [".", "faster", "play faster"],
  ["m", "shown", "masks: all, this one, its outline, none"],
  ["z", "zoom", "closer to the object, and back (also the wheel)"],
  ["j", "next", "the next track of the list (also ↓)"],
  ["k", "previous", "the track before (also ↑)"],
  ["n", "open", "the next track without a verdict, then skipped ones"],
  ["o", "broken", "objects that failed, or of which the job has something to say"],
  ["/", "search", "search in the list"],
  ["t", "theme", "light, dark, or as the system"],
  ["?", "help", "these keys"],
];
const ALSO = { ArrowDown: "next", ArrowUp: "previous" };
const SHOWN = { " ": "space", ArrowRight: "→", ArrowLeft: "←" };
const OFTEN = new Set(["forth", "back", "next", "previous"]); // a key that is held does these again and again

/**
 * Tells whether a key presses the button that somebody has reached by Tab. Enter and space are its own then, as everywhere,
 * whatever they mean where nothing has the focus. One that was clicked keeps the focus too, and leaves the keys to the page.
 */
function watchTab() {
  let isTab = false, reached = null;
  addEventListener("keydown", event => { isTab = event.key === "Tab"; }, true);
  addEventListener("pointerdown", () => { isTab = false; reached = null; }, true);
  addEventListener("focusin", event => { reached = isTab ? event.target.closest("button") : null; }, true);
  return event => ["Enter", " "].includes(event.key) && reached !== null && event.target === reached;
}

/** Call `act[name](event)` for the keys; `takes(event)` says whether a mode has taken one. */
export function listen(act, takes) {
  const isPress = watchTab();
  const names = { ...Object.fromEntries(KEYS.map(([key, name]) => [key, name])), ...ALSO };
  addEventListener("keydown", event => {
    const field = event.target.closest?.("input, select, textarea");
    if (field) {
      if (event.key === "Escape" || (event.key === "Enter" && field.tagName === "INPUT")) {
        field.blur();
        event.preventDefault();
      }
      return;
    }
    // A window that was just closed keeps the focus until the page is drawn again: a key that comes at once is the page's.
    if (event.target.closest?.("dialog[open]")) return;
    if (isPress(event)) {
      if (event.repeat) event.preventDefault(); // a key that is held presses once
      return;
    }
    if (takes(event)) {
      event.preventDefault();
      return;
    }
    const isUndo = (event.ctrlKey || event.metaKey) && event.key === "z";
    if ((event.ctrlKey || event.metaKey || event.altKey) && !isUndo) return;
    const name = isUndo ? "undo" : names[event.key] ?? names[event.key.toLowerCase()];
    if (!name) return;
    if (event.key === " " && event.target.closest?.("button")) event.target.blur();
    event.preventDefault();
    if (!event.repeat || OFTEN.has(name)) act[name](event);
  });
}

export function fillHelp(list) {
  fillTerms(list, KEYS.map(([key, , words]) => [SHOWN[key] ?? key, words]));
}

/** Keys with what they do, as terms of a list. */
export function fillTerms(list, pairs) {
  for (const [key, words] of pairs) {
    const term = document.createElement("dt"), told = document.createElement("dd"), shown = document.createElement("kbd");
    shown.textContent = key;
    term.append(shown);
    told.textContent = words;
    list.append(term, told);
  }
}
