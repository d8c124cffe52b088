// The page: it opens tracks, says verdicts, and keeps list, player and server in step.

import { get, post } from "./api.js";
import { Broken } from "./broken.js";
import { Filters } from "./filters.js";
import { fillHelp, fillTerms, listen } from "./keys.js";
import { TrackList, inWords, keyOf } from "./list.js";
import { Player } from "./player.js";
import { Prepared } from "./prepared.js";
import { drawMask } from "./rle.js";
import { Drafts, Saving, Stopwatch } from "./saving.js";
import { $, dot, tell, trouble } from "./shell.js";
import { Timeline } from "./timeline.js";
import { Verdicts } from "./verdicts.js";

const POLL_MILLISECONDS = 4000;
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
const MOST_PREPARED = 4;
const VERDICTS = ["accept", "reject", "fix", "skip"];

const session = await get("api/session").catch(error => {
  trouble(error.message);
  throw error;
});
const drafts = new Drafts(session.output_key), saving = new Saving(session.output_key), watch = new Stopwatch();
const player = new Player({
  stage: $("stage"), stack: $("stack"), frame: $("frame"), masks: $("masks"), overlay: $("overlay"), message: $("message"),
  mode: $("mode"),
});
const filters = new Filters(
  { text: $("text"), sort: $("sort"), verdict: $("verdict"), reason: $("reason"), category: $("category") }, session.output_key,
);
const list = new TrackList({ rows: $("rows"), spacer: $("spacer"), nothing: $("nothing") }, () => filters.query);
const broken = new Broken({ changed: () => poll(), open: one => open(one) });
const timeline = new Timeline($("timeline"), place => { player.pause(); player.go(place); });
const prepared = new Map();
const verdicts = new Verdicts({
  get row() { return row; }, player, watch, drafts, draft: currentDraft, refill, show, open, openNext, poll,
}, saving);
let { version, reading } = session, row = null, upcoming = [], toggleFix = null;
let isPolling = false, looking = false, numOpened = 0;

// Tracks

function prepare(wanted) {
  const key = `${keyOf(wanted)} ${wanted.video_at}`;
  let found = prepared.get(key);
  if (found) prepared.delete(key);
  else found = new Prepared(wanted);
  found.track.catch(() => prepared.delete(key));
  prepared.set(key, found);
  for (const [old, one] of prepared) {
    if (prepared.size <= MOST_PREPARED) break;
    if (one === player.prepared || one === found) continue;
    prepared.delete(old);
    one.close();
  }
  return found;
}

async function open(wanted) {
  if (!wanted || (player.handler && !(await player.mayLeave()))) return;
  player.leaveMode();
  numOpened++;
  keepDraft();
  row = wanted;
  watch.reset();
  list.select(row);
  showTitle();
  recallDraft();
  try {
    if (!(await player.open(prepare(wanted)))) return;
  } catch (error) {
    if (row !== wanted || error.name === "AbortError") return;
    player.clear();
    enable(false);
    timeline.show(null);
    tell(error.message, "bad");
    return;
  }
  try {
    const told = await get("api/next", { ...filters.query, video: row.video_id, object: row.object_id, count: 3 });
    if (row !== wanted) return;
    upcoming = told.rows;
    upcoming.slice(0, 2).forEach(prepare);
  } catch { /* the poll tells */ }
}

/** The next track that nobody has said anything of, and behind the last one those that were skipped. */
async function openNext() {
  const done = new Set([...saving.queue.map(keyOf), row && keyOf(row)]), numBefore = numOpened;
  let next = upcoming.find(one => !done.has(keyOf(one)) && (!one.said || one.said.is_stale));
  if (!next) {
    const after = row ? { video: row.video_id, object: row.object_id } : {};
    const told = await get("api/next", { ...filters.query, ...after, count: Math.min(20, 3 + saving.num) }).catch(() => ({ rows: [] }));
    if (numOpened !== numBefore) return; // somebody has chosen a track meanwhile, or taken a verdict back
    next = told.rows.find(one => !done.has(keyOf(one)));
  }
  if (next) {
    if (next.said?.verdict === "skip" && !next.said.is_stale) tell("Only skipped tracks are left of what is listed: this is one of them.");
    await open(next);
  } else tell("Nothing without a verdict is left of what is listed.");
}

// Drafts of comment and category

function currentDraft() {
  const draft = {};
  if ($("comment").value.trim()) draft.comment = $("comment").value.trim();
  const category = $("named").value.trim();
  if (category && category !== row?.category) draft.category = category;
  return draft;
}
function keepDraft() { if (row) drafts.set(row, currentDraft()); }
function recallDraft() {
  const draft = drafts.get(row);
  $("comment").value = draft.comment ?? "";
  $("named").value = draft.category ?? "";
  $("named").placeholder = row.category ? `category: ${row.category} ( g )` : "category ( g )";
}
/** What was said with a verdict that is taken back stands in the fields again. What was written there since stays. */
function refill(one, { comment, category }) {
  keepDraft();
  const since = drafts.get(one);
  drafts.set(one, { comment: since.comment ?? comment, category: since.category ?? category });
  if (row && keyOf(row) === keyOf(one)) recallDraft();
}
for (const id of ["comment", "named"]) $(id).addEventListener("input", keepDraft);

// What is shown

/** Show what is said of a row before the server tells. */
function show(one, said) {
  const fresh = { ...one, said };
  list.update([fresh]);
  if (row && keyOf(row) === keyOf(one)) {
    row = fresh;
    showSaid();
  }
}

function showTitle() {
  $("object").textContent = `#${row.object_id}${row.category ? ` ${row.category}` : ""}`;
  $("object").title = $("object").textContent;
  $("video").textContent = $("video").title = row.video_id;
  $("facts").textContent = "";
  $("banner").hidden = true;
  fillReasons();
  showSaid();
}

function showSaid() {
  for (const verdict of VERDICTS) $(verdict).classList.toggle("on", row?.said?.verdict === verdict && !row.said.is_stale);
  const history = player.track && keyOf(player.track) === keyOf(row) ? player.track.history : [];
  $("history").textContent = history.slice(-6).reverse().map(one =>
    [one.reviewer, one.verdict, one.comment && `“${one.comment}”`, one.category && `→ ${one.category}`,
      new Date(one.reviewed_at).toLocaleString()].filter(Boolean).join(" · ")).join("   |   ");
}

function fillReasons() {
  $("reasons").replaceChildren(...row.reasons.map(({ code, sentence, frame }) => {
    const item = document.createElement("li"), name = document.createElement("b"), words = document.createElement("span");
    name.textContent = inWords(code);
    words.textContent = sentence;
    item.append(name, words);
    if (frame !== null) {
      const button = document.createElement("button");
      button.textContent = `frame ${frame}`;
      button.addEventListener("click", () => { player.pause(); player.seek(frame); button.blur(); });
      item.append(button);
    }
    return item;
  }));
  if (!row.reasons.length) {
    const item = document.createElement("li");
    item.textContent = row.doubt === null ? "" : "Nothing speaks against this track.";
    $("reasons").append(item);
  }
}

function enable(isOpen) {
  for (const name of [...VERDICTS, "play", "back", "forth", "doubt", "zoom", "comment", "named"]) $(name).disabled = !isOpen;
}
player.addEventListener("track", () => {
  enable(true);
  const { video, objects, object_id, message } = player.track, color = player.colors.get(String(object_id));
  $("object").style.color = "";
  $("object").replaceChildren(dot(color), $("object").textContent);
  const size = video.width ? `${video.width} × ${video.height}` : "";
  const others = objects.length > 1 ? `${objects.length} objects` : "";
  const doubt = row.doubt === null ? "" : `doubt ${row.doubt.toFixed(2)}`;
  $("facts").textContent = [doubt, `${row.num_visible} of ${row.num_masks} frames`, others, size].filter(Boolean).join(" · ");
  $("facts").title = [message, video.message, video.uri].filter(Boolean).join("\n");
  $("doubt").disabled = row.doubt_frame === null;
  $("before").hidden = !hasBefore();
  timeline.show(player.track);
  showSaid();
});
player.addEventListener("frame", () => {
  timeline.move(player.place);
  const { frames, times } = player.track, seconds = times[player.place];
  $("where").textContent = `frame ${frames[player.place]} · ${player.place + 1} of ${frames.length}${seconds === null ? "" : ` · ${seconds.toFixed(2)} s`}`;
});
player.addEventListener("playing", () => { $("play").textContent = player.isPlaying ? "❚❚" : "▶"; });

/** Frames before the first mask: whoever sees the object earlier than its first prompt corrects it there. */
async function showBefore() {
  const { track, place } = player;
  if (!track?.frames.length || looking) return;
  if (!hasBefore()) {
    tell(track.frames[0] ? "There are no frames before this one." : "This is the first frame of the video.");
    return;
  }
  looking = true;
  tell("Looking for the frames before the first mask …");
  try {
    const told = await post("api/frames", { video_id: track.video_id });
    if (player.track !== track) return;
    track.isWhole = true;
    await player.extend(told);
    const { frames } = track, first = track.series.frame_index[0] ?? frames[place];
    if (frames.some(frame => frame < first)) await player.go(frames.findLastIndex(frame => frame < first));
  } catch (error) {
    tell(error.message, "bad");
  } finally {
    looking = false;
    $("before").hidden = !hasBefore();
  }
}

/** Whether frames of the video lie before those that are shown. */
function hasBefore() { return Boolean(player.track?.frames[0] > 0 && !player.track.isWhole); }

player.addEventListener("extended", () => timeline.show(player.track));

// In step with the server

async function reload(keep = false) {
  try {
    const told = await list.reload(keep);
    if (told) showTotal();
    return told;
  } catch (error) {
    tell(error.message, "bad");
    return null;
  }
}

function showTotal() {
  const words = document.createElement("span");
  words.textContent = `${list.total.toLocaleString("en")} ${list.total === 1 ? "track" : "tracks"}`;
  if (list.reach < list.total) {
    words.textContent += `: the first ${list.reach.toLocaleString("en")} are shown. Choose fewer to see the others.`;
  }
  $("total").replaceChildren(words);
  if (filters.isNarrow) {
    const button = document.createElement("button");
    button.textContent = "show all";
    button.addEventListener("click", () => filters.widen());
    $("total").append(button);
  }
  if (session.num_broken) {
    const button = document.createElement("button");
    button.textContent = `${session.num_broken.toLocaleString("en")} failed or with a message`;
    button.title = "objects that failed, or of which the job has something to say (o)";
    button.addEventListener("click", () => broken.show(row));
    $("total").append(button);
  }
  $("nothing").textContent = session.num_tracks
    ? "No track is like that."
    : "This output has no tracks with masks yet. The list fills by itself when the job finishes its first video.";
}

function showCounts({ counts, num_queued, num_queued_said }) {
  const said = VERDICTS.reduce((sum, verdict) => sum + counts[verdict], 0);
  const queued = num_queued ? [[`of ${num_queued.toLocaleString("en")} in the queue`, num_queued_said]] : [];
  $("progress").replaceChildren(...[...queued, ["reviewed", said], ["open", counts.open], ...VERDICTS.map(one => [one, counts[one]])].map(([name, number]) => {
    const element = document.createElement("span"), value = document.createElement("b");
    value.textContent = number.toLocaleString("en");
    element.append(value, ` ${name}`);
    return element;
  }));
}

async function poll() {
  if (isPolling) return;
  isPolling = true;
  try {
    const told = await get("api/news", { since: version, reading });
    if (!saving.fault || !saving.num) trouble(told.trouble);
    if (saving.num && saving.fault) saving.hurry();
    const hasNewReading = told.reading !== reading;
    ({ version, reading } = told);
    showCounts(told);
    if (hasNewReading || told.rows === null) await readAgain();
    else if (told.rows.length) takeRows(told.rows);
  } catch (error) {
    if (!saving.num) trouble(error.message);
  } finally {
    isPolling = false;
  }
}

function takeRows(rows) {
  const waiting = new Set(saving.queue.map(keyOf));
  const fresh = rows.filter(one => !waiting.has(keyOf(one)));
  list.update(fresh);
  const news = new Map(fresh.map(one => [keyOf(one), one]));
  upcoming = upcoming.map(one => news.get(keyOf(one)) ?? one);
  const mine = row && fresh.find(one => keyOf(one) === keyOf(row));
  if (mine) {
    const isNews = mine.said && mine.said.reviewer !== $("reviewer").value.trim() && mine.said.verdict !== row.said?.verdict;
    row = mine;
    showSaid();
    if (isNews) tell(`${mine.said.reviewer} says ${mine.said.verdict} of this track.`);
  }
}

/** The job has gone on: other tracks, other masks. */
async function readAgain() {
  Object.assign(session, await get("api/session"));
  fillFields();
  await reload(true);
  if (!row) {
    if (list.total) await openNext();
    return;
  }
  const fresh = await get("api/track", { video: row.video_id, object: row.object_id }).catch(error => ({ why: error.message }));
  if (fresh.why) banner(fresh.why, null);
  else if (fresh.video_at !== player.track?.video_at) {
    banner("This video was labeled again since you opened it: what you see are the masks of before.", fresh);
  }
}

function banner(text, fresh) {
  $("banner").textContent = text;
  if (fresh) {
    const button = document.createElement("button");
    button.textContent = "show the new masks";
    button.addEventListener("click", () => open(fresh));
    $("banner").append(button);
  }
  $("banner").hidden = false;
}

function fillFields() {
  filters.fill(session);
  showCounts(session);
  $("categories").replaceChildren(...session.categories.filter(({ name }) => name).map(({ name }) => new Option(name)));
}

// Keys and buttons

function setSpeed(distance) {
  const at = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(player.speed) + distance));
  player.speed = SPEEDS[at];
  $("speed").textContent = `${player.speed}×`;
  $("speed").ariaLabel = `speed ${player.speed}×`;
}

const THEMES = ["", "dark", "light"];
function setTheme(theme) {
  document.documentElement.className = theme;
  localStorage.setItem("maskmill.theme", theme);
  timeline.draw();
}

/** Nobody judges another track by leaving marks of fix mode behind. */
const asked = then => async () => { if (await player.mayLeave()) await then(); };

const act = {
  accept: asked(() => verdicts.say("accept")),
  reject: asked(() => verdicts.say("reject")),
  fix: () => (toggleFix ? toggleFix() : verdicts.say("fix")),
  skip: asked(() => verdicts.say("skip")),
  undo: asked(() => verdicts.undo()),
  comment: () => $("comment").focus(),
  named: () => $("named").focus(),
  doubt: () => { if (row && row.doubt_frame !== null) { player.pause(); player.seek(row.doubt_frame); } },
  play: () => (player.isPlaying ? player.pause() : player.play()),
  forth: event => player.step(event?.shiftKey ? 10 : 1),
  back: event => (player.place === 0 && hasBefore() ? showBefore() : player.step(event?.shiftKey ? -10 : -1)),
  before: showBefore,
  first: () => player.step(-Infinity),
  last: () => player.step(Infinity),
  slower: () => setSpeed(-1),
  faster: () => setSpeed(1),
  shown: () => { $("shown").textContent = `masks: ${player.nextShown()}`; },
  zoom: () => player.zoom(),
  next: async () => open(await list.neighbor(1)),
  previous: async () => open(await list.neighbor(-1)),
  open: openNext,
  broken: () => broken.show(row),
  search: () => $("text").focus(),
  theme: () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.className) + 1) % THEMES.length]),
  help: () => $("keys").showModal(),
};
for (const name of ["accept", "reject", "fix", "skip", "undo", "doubt", "before", "play", "forth", "back", "zoom", "shown", "theme", "help"]) {
  $(name).addEventListener("click", event => { event.currentTarget.blur(); act[name](event); });
}
$("speed").addEventListener("click", () => setSpeed(player.speed >= 4 ? -SPEEDS.length : 1));
$("close").addEventListener("click", () => $("keys").close());
listen(act, event => player.takesKey(event));
fillHelp($("keylist"));

list.addEventListener("pick", ({ detail }) => open(detail));
list.addEventListener("fault", ({ detail }) => tell(detail.message, "bad"));
filters.addEventListener("change", async () => {
  upcoming = [];
  const told = await reload();
  if (told?.rows.length && !told.rows.some(one => row && keyOf(one) === keyOf(row))) await openNext();
});
$("reviewer").addEventListener("change", () => localStorage.setItem("maskmill.reviewer", $("reviewer").value.trim()));
addEventListener("pagehide", keepDraft);
addEventListener("online", () => saving.hurry());

// The begin

document.documentElement.className = localStorage.getItem("maskmill.theme") ?? "";
document.title = `review · ${session.output.split("/").filter(Boolean).at(-1) ?? ""}`;
$("output").textContent = $("output").title = session.output;
$("reviewer").value = new URLSearchParams(location.search).get("reviewer") ?? localStorage.getItem("maskmill.reviewer") ?? session.reviewer;
enable(false);
fillFields();
if (session.fixing) {
  const { HINTS, install } = await import("./fix.js");
  $("fixhelp").hidden = false;
  fillTerms($("fixlist"), HINTS);
  toggleFix = install({
    player, watch, api: { get, post }, tell, panel: $("panel"), drawMask,
    saved: (correction, told) => verdicts.fixed(correction, told), takenBack: told => verdicts.unfixed(told),
  });
}
saving.begin();
if ((await reload())?.total) {
  await openNext();
  if (!row) await open(list.at(0)); // all of them have a verdict
}
document.body.dataset.ready = "true";
setInterval(() => { if (!document.hidden) poll(); }, POLL_MILLISECONDS);
