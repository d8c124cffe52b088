// Fix mode: correct the mask of an object on a frame. What it gets from the page stands in app.py beside this folder.
// What is said and saved is in fix_corrections.js, mouse and brush in fix_pointer.js, the preview in fix_preview.js.

import { ask } from "./ask.js";
import { Corrections } from "./fix_corrections.js";
import { drawMarks } from "./fix_drawing.js";
import { fillPanel } from "./fix_panel.js";
import { Pointer } from "./fix_pointer.js";
import { Preview } from "./fix_preview.js";
import { framesOf } from "./fix_words.js";

export { HINTS } from "./fix_panel.js";

const REST = 120; // milliseconds on a frame before its memory is made, so that stepping through frames stays quick
const WAITING = ["a", "r", "s", "u", "g", "o"]; // keys of the page that wait until fix mode is left
const ONCE = ["Enter", "Escape", "b", "d", "e", "h", "c", "0", "p", "n", "x"]; // a key that is held does these once
const ELSEWHERE = ["j", "k", "ArrowDown", "ArrowUp"]; // they open another track, and the page asks before

/** Called once, if the server can fix. Returns what the key f does. */
export function install(app) {
  let mode = null;
  return () => {
    if (mode?.isOn) mode.end();
    else if (app.player.current) (mode = new Fix(app)).begin();
    else app.tell("Open a track first.", "bad");
  };
}

class Fix {
  constructor(app) {
    Object.assign(this, { app, player: app.player, isOn: false, note: null, status: "" });
    this.added = null; // the id of an object that is being added
    this.now = null; // the correction that is shown
    this.corrections = new Corrections(this);
    this.pointer = new Pointer(this);
    this.preview = new Preview(this);
    this.leaving = Promise.resolve();
    this.onFrame = () => this.arrived();
    this.onUnload = event => { if (this.corrections.hasUnsaved) event.preventDefault(); };
  }

  begin() {
    this.isOn = true;
    this.pointer.begin();
    this.player.enterMode({
      name: "fix",
      keydown: event => this.key(event),
      pointerdown: (event, xy) => this.pointer.down(event, xy),
      pointermove: (event, xy) => this.pointer.move(event, xy),
      pointerup: (event, xy) => this.pointer.up(event, xy),
      pointercancel: () => { this.pointer.cancel(); this.draw(); },
      mayLeave: () => this.mayLeave(),
      leave: () => this.leave(),
    });
    this.player.addEventListener("frame", this.onFrame);
    addEventListener("beforeunload", this.onUnload);
    this.arrived();
  }

  leave() {
    this.isOn = false;
    this.preview.stop();
    clearTimeout(this.rest);
    this.player.removeEventListener("frame", this.onFrame);
    this.pointer.end();
    removeEventListener("beforeunload", this.onUnload);
    const { unsaved } = this.corrections;
    if (unsaved.length) this.app.tell(`Not saved: ${framesOf(unsaved)}.`, "bad");
    this.corrections.forget([...this.corrections.open.values()].filter(one => one.num_said && !one.isSaved));
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
  get reviewer() { return document.getElementById("reviewer")?.value.trim() || null; }

  /** Another frame is shown: its memory is made after a moment. */
  arrived() {
    if (!this.isOn || this.preview.isOn) return;
    this.note = null;
    this.pointer.cancel();
    this.now = this.corrections.here;
    this.draw();
    clearTimeout(this.rest);
    if (this.now || this.added === "new") return; // a new object gets its id once
    this.rest = setTimeout(() => this.corrections.opened().catch(error => this.tell(error.message, "bad")), REST);
  }

  show(correction) {
    if (correction === this.corrections.here) this.now = correction;
    this.player.showMask(correction.object_id, correction.frame_index, correction.area ? correction.counts : null);
    this.draw();
  }

  draw() {
    if (!this.isOn) return;
    drawMarks(this);
    fillPanel(this);
  }

  // Keys

  key(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, { corrections, pointer, preview } = this;
    const isCommand = event.ctrlKey || event.metaKey, isBack = isCommand && key === "z";
    if (event.repeat && (isBack || ONCE.includes(key))) return true;
    if (isBack) corrections.back();
    else if (isCommand || event.altKey) return false;
    else if (key === "Escape") this.stepOut();
    else if (pointer.takesKey(key)) this.draw();
    else if (key === "h") corrections.say({ kind: "hide" });
    else if (key === "c") corrections.say({ kind: "clear" });
    else if (key === "0") corrections.say({ kind: "restart" });
    else if (key === "p") preview.toggle(event.shiftKey ? -1 : 1);
    else if (key === "n") this.add();
    else if (key === "x") corrections.save(true);
    else if (key === "Enter") corrections.save(false);
    else if (ELSEWHERE.includes(key)) return false;
    else return WAITING.includes(key);
    return true;
  }

  add() {
    this.preview.stop(true);
    this.added = "new";
    this.now = null;
    this.corrections.do(async () => {
      await this.corrections.opened();
      this.tell(`Object ${this.added} is new: click on it. Escape ends adding.`);
    });
  }

  // The way out

  /** Escape ends the preview, then adding, then the mode: one after the other, however quickly it is pressed. */
  stepOut() {
    this.leaving = this.leaving.then(async () => {
      if (this.preview.isOn) this.preview.stop(true);
      else if (this.isOn && (await this.mayLeave())) {
        if (this.added) {
          this.added = null;
          this.arrived();
        } else this.player.leaveMode();
      }
    });
  }

  /** The key f ends the mode. */
  end() {
    this.leaving = this.leaving.then(async () => {
      if (this.isOn && (await this.mayLeave())) this.player.leaveMode();
    });
  }

  /** Whether the mode may be left. Asks what becomes of masks that are not saved, and does it. */
  async mayLeave() {
    await this.corrections.queue; // what was said last counts
    const { unsaved } = this.corrections;
    if (!unsaved.length) return true;
    const answer = await ask(`Not saved: ${framesOf(unsaved)}.`, [
      ["save", "s", "save"], ["throw", "t", "throw away"], ["stay", "esc", "stay here"],
    ]);
    if (answer === "stay") return false;
    if (answer === "save") return this.corrections.saveAll(unsaved);
    this.corrections.forget(unsaved);
    return true;
  }
}
