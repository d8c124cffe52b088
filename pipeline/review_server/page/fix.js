// Fix mode: correct the mask of an object on a frame. What it gets from the page stands in app.py beside this folder.

import { Stroke } from "./brush.js";
import { clear, framesOf, savedWords, written } from "./fix_words.js";

const DRAG = 5; // pixels of the screen from which a click is a box
const REST = 120; // milliseconds on a frame before its memory is made, so that stepping through frames stays quick
const PREVIEWED = 24;
const MINE = [80, 250, 160], INSIDE = "#3ddc84", OUTSIDE = "#ff5a5f";
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

/** Called once, if the server can fix. Returns what the key f does. */
export function install(app) {
  let mode = null;
  return () => {
    if (mode?.isOn) mode.mayLeave("f") && app.player.leaveMode();
    else if (app.player.current) (mode = new Fix(app)).begin();
    else app.tell("Open a track first.", "bad");
  };
}

class Fix {
  constructor(app) {
    Object.assign(this, { app, player: app.player, tool: "click", radius: null, isOn: false });
    this.open = new Map(); // corrections by object and frame that are under way
    this.added = null; // the id of an object that is being added
    this.now = null; // the correction that is shown
    this.queue = Promise.resolve();
    this.preview = null;
    this.saved = [];
    this.onFrame = () => this.arrived();
    this.onUnload = event => { if (this.unsaved.length) event.preventDefault(); };
  }

  begin() {
    this.isOn = true;
    this.since = performance.now();
    const { size: [width, height] } = this.player.current;
    this.radius = Math.max(1, Math.round(Math.min(width, height) / 30));
    this.player.enterMode({
      name: "fix",
      keydown: event => this.key(event),
      pointerdown: (event, xy) => this.down(event, xy),
      pointermove: (event, xy) => this.move(event, xy),
      pointerup: (event, xy) => this.up(event, xy),
      leave: () => this.leave(),
    });
    this.player.addEventListener("frame", this.onFrame);
    addEventListener("beforeunload", this.onUnload);
    this.player.overlay.parentElement.addEventListener("contextmenu", prevent);
    this.arrived();
  }

  leave() {
    this.isOn = false;
    this.stopPreview();
    clearTimeout(this.rest);
    this.player.removeEventListener("frame", this.onFrame);
    this.player.overlay.parentElement.removeEventListener("contextmenu", prevent);
    removeEventListener("beforeunload", this.onUnload);
    if (this.unsaved.length) this.app.tell(`Not saved: ${framesOf(this.unsaved)}.`, "bad");
    for (const one of this.open.values()) {
      if (one.num_said && !one.isSaved) this.player.forgetMasks(one.object_id, one.frame_index);
    }
    this.app.panel.hidden = true;
    this.app.panel.replaceChildren();
  }

  /** A line in the panel: one above the picture would lie where somebody clicks. */
  tell(text, kind = "") {
    this.note = { text, kind };
    this.draw();
  }

  // Where it stands

  get objectId() { return this.added ?? this.player.current.object_id; }
  get keyNow() { return `${this.objectId} ${this.player.current.frame_index}`; }

  /** Another frame is shown: its memory is made after a moment. */
  arrived() {
    if (!this.isOn || this.preview) return;
    this.note = null;
    this.now = this.open.get(this.keyNow) ?? null;
    this.draw();
    clearTimeout(this.rest);
    if (this.now || this.added === "new") return; // a new object gets its id once
    this.rest = setTimeout(() => this.opened().catch(error => this.tell(error.message, "bad")), REST);
  }

  /** The correction of the object on this frame, opened on the server if it is not. */
  async opened() {
    const key = this.keyNow, { video_id, frame_index } = this.player.current;
    if (!this.open.has(key)) {
      this.status = "making the memory of this frame …";
      this.draw();
      try {
        const told = await this.app.api.post("api/fix/open", {
          video_id, object_id: this.added === "new" ? null : this.objectId, frame_index, reviewer: this.reviewer,
        });
        if (this.added === "new") this.added = told.object_id;
        this.open.set(`${told.object_id} ${frame_index}`, told);
      } finally {
        this.status = "";
      }
    }
    if (this.isOn && this.player.current.frame_index === frame_index) this.show(this.open.get(`${this.objectId} ${frame_index}`));
    return this.open.get(`${this.objectId} ${frame_index}`);
  }

  get reviewer() { return document.getElementById("reviewer")?.value.trim() || null; }

  show(correction) {
    this.now = correction;
    this.player.showMask(correction.object_id, correction.frame_index, correction.area ? correction.counts : null);
    this.draw();
  }

  /** One after the other, in the order in which the reviewer did them. */
  do(work) {
    this.queue = this.queue.then(work).catch(error => {
      this.status = "";
      this.tell(error.message, "bad");
      this.draw();
    });
    return this.queue;
  }

  say(what) {
    if (this.preview && !this.leavePreview()) return undefined;
    const asked = performance.now();
    this.note = null;
    return this.do(async () => {
      const correction = await this.opened();
      const told = await this.app.api.post("api/fix/say", { id: correction.id, ...what });
      if (what.kind === "undo") told.isTakenBack = correction.isTakenBack;
      this.open.set(`${told.object_id} ${told.frame_index}`, told);
      this.milliseconds = performance.now() - asked;
      this.show(told);
      if (told.is_hidden && (what.kind === "box" || (what.kind === "click" && what.label))) {
        this.tell("The network sees nothing there: click again nearer to its middle, drag a box around it, or draw it ( d ).", "bad");
      }
      this.app.panel.dataset.milliseconds = Math.round(this.milliseconds);
      this.app.panel.dataset.said = Number(this.app.panel.dataset.said ?? 0) + 1;
    });
  }

  // Keys

  key(event) {
    const { key } = event;
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "z") return this.back();
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (key === "Escape") return this.stepOut();
    const tool = { b: "box", d: "draw", e: "erase" }[key];
    if (tool) {
      this.tool = this.tool === tool ? "click" : tool;
      this.draw();
    } else if (key === "[" || key === "]") {
      this.radius = Math.max(1, Math.round(this.radius * (key === "[" ? 0.8 : 1.25) + (key === "[" ? -0.4 : 0.4)));
      this.draw();
    } else if (key === "h") this.say({ kind: "hide" });
    else if (key === "c") this.say({ kind: "clear" });
    else if (key === "0") this.say({ kind: "restart" });
    else if (key === "p" || key === "P") this.startPreview(key === "p" ? 1 : -1);
    else if (key === "n") this.add();
    else if (key === "x") this.save(true);
    else if (key === "Enter") this.save(false);
    else if (["j", "k", "ArrowDown", "ArrowUp"].includes(key)) return !this.mayLeave(key); // they open another track
    else return ["a", "r", "s", "u", "g"].includes(key); // verdicts wait until fix mode is left
    return true;
  }

  /** Escape ends the preview, then adding, then the mode. */
  stepOut() {
    if (this.preview) this.stopPreview(true);
    else if (this.added) {
      if (!this.mayLeave("escape")) return true;
      this.added = null;
      this.arrived();
    } else return !this.mayLeave("escape");
    return true;
  }

  /** Frames on which something was said that is not saved; what was taken back on purpose is not among them. */
  get unsaved() { return [...this.open.values()].filter(one => one.num_said && !one.isSaved && !one.isTakenBack); }

  /** Whether nothing would be lost; asks once, and then the same key again leaves. */
  mayLeave(key) {
    const { unsaved } = this, asked = unsaved.map(one => `${one.id} ${one.num_said}`).join();
    if (!unsaved.length || this.asked === asked) return true;
    this.asked = asked;
    this.tell(`Not saved: ${framesOf(unsaved)}. Enter saves the frame that is shown; ${key} again leaves without.`, "bad");
    return false;
  }

  /** One step back: of what was said of this frame, or else of what was saved last. */
  back() {
    if (this.now?.num_said && !this.now.isSaved) this.say({ kind: "undo" });
    else this.do(() => this.withdraw());
    return true;
  }

  async withdraw() {
    const last = this.saved.at(-1);
    if (!last) return this.tell("Nothing to take back.");
    const { correction, told } = last, { object_id, frame_index } = correction;
    const { video_id } = this.player.current;
    const answer = await this.app.api.post("api/fix/withdraw", { id: correction.id, video_id, object_id, reviewer: this.reviewer, ...told })
      .catch(error => {
        if (error.status >= 400 && error.status < 500) this.saved.pop(); // it would be refused again
        throw error;
      });
    this.saved.pop();
    const earlier = this.saved.findLast(one => one.correction.object_id === object_id);
    if (earlier && answer.verdict_path) earlier.told.verdict_path = answer.verdict_path;
    const now = this.open.get(`${object_id} ${frame_index}`);
    if (now) Object.assign(now, { isSaved: false, isTakenBack: true, splitInto: null });
    this.tell(`Taken back: what was saved of frame ${frame_index}.`);
    return undefined;
  }

  add() {
    this.stopPreview(true);
    this.added = "new";
    this.now = null;
    this.do(async () => {
      await this.opened();
      this.tell(`Object ${this.added} is new: click on it. Escape ends adding.`);
    });
  }

  save(isSplit) {
    if (this.preview && !this.leavePreview()) return;
    this.do(async () => {
      const correction = this.now ?? (await this.opened());
      const category = written("named"), comment = written("comment");
      const { splitInto } = correction;
      if (splitInto) throw new Error(`Nothing to save: the track is split here, and object ${splitInto} has this mask. ctrl z takes it back.`);
      if (correction.isSaved && !isSplit && !category && !comment) throw new Error("Nothing to save: this frame is saved.");
      if (isSplit && correction.is_added) throw new Error("A new object has no track to split.");
      const told = await this.app.api.post("api/fix/save", {
        id: correction.id, reviewer: this.reviewer, labeled_at: this.player.current.labeled_at,
        seconds: Math.min(3600, (performance.now() - this.since) / 1000), is_split: isSplit,
        category, comment: correction.is_added ? null : comment, // a comment is the track's, and is kept for it
      });
      clear("named", category);
      if (!correction.is_added) clear("comment", comment);
      this.since = performance.now();
      Object.assign(correction, { isSaved: true, splitInto: told.split_into });
      this.saved.push({ correction, told });
      this.tell(`Saved: ${savedWords(correction, told.split_into)}.`);
      this.app.panel.dataset.saved = this.saved.length;
      this.draw();
    });
  }

  // Pointer

  down(event, xy) {
    if (this.preview && !this.leavePreview()) return;
    const isOutside = event.button === 2 || event.altKey;
    this.press = { xy, screen: [event.clientX, event.clientY], isOutside };
    if ((this.tool === "draw" || this.tool === "erase") && !isOutside) {
      const { size } = this.player.current;
      this.stroke = new Stroke(this.now?.area ? this.now.counts : null, size, Number(this.tool === "draw"));
      this.stroke.to(xy, this.radius);
      this.path = [xy];
    }
    this.draw();
  }

  move(event, xy) {
    this.pointer = xy;
    if (this.stroke) {
      this.stroke.to(xy, this.radius);
      this.path.push(xy);
    } else if (this.press && !this.press.isOutside) {
      const far = Math.hypot(event.clientX - this.press.screen[0], event.clientY - this.press.screen[1]);
      if (far > DRAG || this.press.box) this.press.box = [...this.press.xy, ...xy];
    }
    if (this.press || this.tool !== "click") this.draw();
  }

  up(event, xy) {
    const { press, stroke } = this;
    this.press = this.stroke = this.path = null;
    if (!press) return;
    const { size: [width, height] } = this.player.current;
    const inside = ([x, y]) => [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
    if (stroke) this.say({ kind: "draw", counts: stroke.counts });
    else if (press.box) {
      this.tool = "click";
      this.say({ kind: "box", box: [...inside(press.xy), ...inside(xy)] });
    } else if (this.tool !== "box") {
      const [x, y] = press.xy;
      if (x < 0 || y < 0 || x > width || y > height) return;
      this.say({ kind: "click", xy: press.xy, label: Number(!press.isOutside) });
    }
  }

  // Preview

  /** Walk on from this frame, and show each mask when it is there. */
  startPreview(direction) {
    const isRunning = Boolean(this.preview?.abort);
    this.stopPreview(!isRunning);
    if (isRunning) return;
    this.do(async () => {
      const correction = await this.opened();
      const preview = { from: correction, abort: new AbortController(), count: 0 };
      this.preview = preview;
      this.draw();
      this.run(preview, direction).catch(error => {
        if (error.name !== "AbortError") this.tell(error.message, "bad");
      }).finally(() => {
        preview.abort = null;
        this.app.panel.dataset.previewed = preview.count;
        this.draw();
      });
    });
  }

  async run(preview, direction) {
    const { from } = preview;
    const response = await fetch("api/fix/preview", {
      method: "POST", signal: preview.abort.signal, headers: { "content-type": "application/json" },
      body: JSON.stringify({ id: from.id, num_frames: PREVIEWED, direction }),
    });
    if (!response.ok) throw new Error((await response.json()).error);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const seen = JSON.parse(line);
        if (seen.error) throw new Error(seen.error);
        if (this.preview !== preview || !preview.abort) return;
        this.player.showMask(from.object_id, seen.frame_index, seen.area ? seen.counts : null);
        preview.count++;
        await this.player.seek(seen.frame_index);
        this.draw();
      }
    }
  }

  /** Stop it; with `isOver` the stored masks are shown again, and the frame from which it began. */
  stopPreview(isOver = false) {
    const { preview } = this;
    if (!preview) return;
    preview.abort?.abort();
    preview.abort = null;
    if (!isOver && this.isOn) return;
    this.preview = null;
    this.player.forgetMasks(preview.from.object_id);
    for (const one of this.open.values()) {
      if (one.num_said && this.isOn) this.player.showMask(one.object_id, one.frame_index, one.area ? one.counts : null);
    }
    if (this.isOn) this.player.seek(preview.from.frame_index);
  }

  /** End a preview because the reviewer goes on with a frame. False: the mask that it came from is not saved yet. */
  leavePreview() {
    const { from } = this.preview, { frame_index: here } = this.player.current;
    if (here !== from.frame_index && from.num_said && !from.isSaved) {
      this.tell(`Save frame ${from.frame_index} first (escape, enter): this frame follows from it.`, "bad");
      return false;
    }
    this.preview.abort?.abort();
    this.preview = null;
    this.player.forgetMasks(from.object_id);
    this.now = this.open.get(this.keyNow) ?? null;
    return true;
  }

  // What is shown

  draw() {
    if (!this.isOn) return;
    const { overlay } = this.player, context = overlay.getContext("2d");
    context.clearRect(0, 0, overlay.width, overlay.height);
    const unit = overlay.width / Math.max(1, overlay.getBoundingClientRect().width); // video pixels of one of the screen
    const now = this.preview ? null : this.now;
    if (now?.is_added && now.area && now.frame_index === this.player.current.frame_index) {
      this.app.drawMask(context, now.counts, this.player.current.size, MINE, 0.35);
    }
    for (const [x, y, label] of now?.points ?? []) this.#dot(context, x, y, label, unit);
    const box = this.press?.box ?? now?.box;
    if (box) {
      context.lineWidth = 2 * unit;
      context.strokeStyle = INSIDE;
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    }
    if (this.path) {
      context.lineWidth = 2 * this.radius;
      context.lineCap = context.lineJoin = "round";
      context.strokeStyle = this.tool === "draw" ? "rgba(61, 220, 132, .6)" : "rgba(255, 90, 95, .6)";
      context.beginPath();
      this.path.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (this.path.length === 1) context.lineTo(this.path[0][0] + 0.01, this.path[0][1]);
      context.stroke();
    } else if (this.pointer && (this.tool === "draw" || this.tool === "erase")) {
      context.lineWidth = 1.5 * unit;
      context.strokeStyle = this.tool === "draw" ? INSIDE : OUTSIDE;
      context.beginPath();
      context.arc(...this.pointer, this.radius, 0, 7);
      context.stroke();
    }
    this.#panel();
  }

  #dot(context, x, y, label, unit) {
    context.beginPath();
    context.arc(x, y, 5 * unit, 0, 7);
    context.fillStyle = label ? INSIDE : OUTSIDE;
    context.fill();
    context.lineWidth = 1.5 * unit;
    context.strokeStyle = "white";
    context.stroke();
  }

  #panel() {
    const { panel } = this.app, now = this.now;
    const line = document.createElement("div"), keys = document.createElement("div"), note = document.createElement("div");
    line.className = "fix-state";
    note.className = `fix-note ${this.note?.kind ?? ""}`;
    note.textContent = this.note?.text ?? "";
    keys.className = "fix-keys";
    line.textContent = this.status || this.#state(now);
    for (const [key, words] of HINTS) {
      const one = document.createElement("span"), name = document.createElement("kbd");
      name.textContent = key;
      one.append(name, ` ${words}`);
      keys.append(one, " ");
    }
    panel.replaceChildren(line, note, keys);
    panel.hidden = false;
    panel.dataset.state = this.status ? "busy" : this.preview ? (this.preview.abort ? "previewing" : "preview") : now ? "open" : "waiting";
  }

  #state(now) {
    if (this.preview) {
      const { from, count, abort } = this.preview;
      const ended = abort ? "p stops" : "arrow keys look at it, escape ends it";
      return `preview of ${count} frames from frame ${from.frame_index}: ${ended}`;
    }
    const tool = `${TOOLS[this.tool]}${this.tool === "draw" || this.tool === "erase" ? `, ${2 * this.radius} px` : ""}`;
    if (!now) return tool;
    const mask = now.is_hidden ? "not visible here" : now.counts === null ? "no mask yet" : `${now.area.toLocaleString("en")} px`;
    const score = now.score === null ? "" : `predicted IoU ${now.score.toFixed(2)}`;
    const saved = now.isSaved ? (now.splitInto ? `split: object ${now.splitInto} begins here` : "saved") : now.num_said ? "not saved" : "";
    const time = this.milliseconds && now.num_said ? `${Math.round(this.milliseconds)} ms` : "";
    return [`object ${now.object_id}${now.is_added ? " (new)" : ""}`, mask, score, tool, saved, time].filter(Boolean).join(" · ");
  }
}

function prevent(event) { event.preventDefault(); }
