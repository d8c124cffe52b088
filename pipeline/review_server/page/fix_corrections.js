// Corrections under way: what is said of frames, saved and taken back, one after the other in the reviewer's order.

import { newId } from "./api.js";
import { clear, framesOf, replacedWords, savedWords, written } from "./fix_words.js";

export class Corrections {
  /** `fix` is fix mode: what it shows and tells. */
  constructor(fix) {
    Object.assign(this, { fix, app: fix.app, queue: Promise.resolve(), saved: [], numPending: 0 });
    this.open = new Map(); // by object and frame
    this.opening = new Map(); // promises of those that the server is asked for
    this.since = this.app.watch.seconds;
  }

  /** The correction of the object on the frame that is shown, or null. */
  get here() { return this.open.get(this.#key(this.place)) ?? null; }

  /** What is shown. Who does something now means this, also where it is done later, when another frame is shown. */
  get place() { return { frame_index: this.fix.player.current.frame_index, isAdded: Boolean(this.fix.added) }; }

  /** Frames on which something was said that is not saved; what was taken back on purpose is not among them. */
  get unsaved() { return [...this.open.values()].filter(one => one.num_said && !one.isSaved && !one.isTakenBack); }

  /** Whether anything would be lost, or is on its way. */
  get hasUnsaved() { return this.numPending > 0 || this.unsaved.length > 0; }

  /** One after the other, in the order in which the reviewer did them. */
  do(work) {
    this.queue = this.queue.then(work).catch(error => {
      this.fix.status = "";
      this.fix.tell(error.message, "bad");
    });
    return this.queue;
  }

  /** The correction of the object on a frame, opened on the server if it is not; once, however often it is asked for. */
  async opened(place = this.place) {
    const { fix } = this, key = this.#key(place), known = this.open.get(key);
    if (!known && !this.opening.has(key)) {
      this.opening.set(key, this.#openAt(place).finally(() => this.opening.delete(key)));
    }
    const found = known ?? (await this.opening.get(key));
    if (fix.isOn && found === this.here) fix.show(found);
    return found;
  }

  async #openAt({ frame_index, isAdded }) {
    const { fix } = this, { video_id, object_id } = fix.player.current, isNew = isAdded && fix.added === "new";
    fix.status = "making the memory of this frame …";
    fix.draw();
    try {
      const told = await this.app.api.post("api/fix/open", {
        video_id, object_id: isNew ? null : isAdded ? fix.added : object_id, frame_index, reviewer: fix.reviewer,
      });
      if (isNew) fix.added = told.object_id;
      this.#keep(told);
      return told;
    } finally {
      fix.status = "";
    }
  }

  /** Ask the server something of a correction. One that it has closed is opened again, with the mask that is shown. */
  async ask(path, correction, body) {
    try {
      return await this.app.api.post(path, { id: correction.id, ...body });
    } catch (error) {
      if (error.status !== 410) throw error;
    }
    await this.openAgain(correction);
    if (body.kind === "undo") throw new Error("The server has kept this mask, and no longer the steps to it: once more takes all of them back.");
    return this.app.api.post(path, { id: correction.id, ...body });
  }

  /** Its mask stays, and the steps to it are one now. */
  async openAgain(correction) {
    const { post } = this.app.api, { object_id, frame_index, num_said, isSaved, is_hidden, counts } = correction;
    const { video_id } = this.fix.player.current;
    const { id } = await post("api/fix/open", { video_id, object_id, frame_index, reviewer: this.fix.reviewer });
    if (num_said && !isSaved) await post("api/fix/say", { id, kind: is_hidden ? "hide" : counts === null ? "clear" : "draw", counts });
    correction.id = id;
  }

  say(what) {
    const { fix } = this, { panel } = this.app;
    if (!fix.preview.mayGoOn()) return undefined;
    const asked = performance.now(), { place } = this;
    fix.note = null;
    this.numPending++;
    return this.do(async () => {
      const correction = await this.opened(place);
      const told = await this.ask("api/fix/say", correction, what);
      if (what.kind === "undo") told.isTakenBack = correction.isTakenBack;
      this.#keep(told);
      this.milliseconds = performance.now() - asked;
      fix.show(told);
      if (told.is_hidden && (what.kind === "box" || (what.kind === "click" && what.label))) {
        fix.tell("The network sees nothing there: click again nearer to its middle, drag a box around it, or draw it ( d ).", "bad");
      }
      panel.dataset.milliseconds = Math.round(this.milliseconds);
      panel.dataset.said = Number(panel.dataset.said ?? 0) + 1;
    }).finally(() => { this.numPending--; });
  }

  /** Save what is shown; with `isSplit` as an object that begins here. */
  save(isSplit) {
    if (!this.fix.preview.mayGoOn()) return;
    const { place } = this;
    this.do(async () => {
      const correction = await this.opened(place);
      const { splitInto } = correction;
      if (splitInto) throw new Error(`Nothing to save: the track is split here, and object ${splitInto} has this mask. ctrl z takes it back.`);
      if (correction.isSaved && !isSplit && !written("named") && !written("comment")) throw new Error("Nothing to save: this frame is saved.");
      if (isSplit && correction.is_added) throw new Error("A new object has no track to split.");
      const told = await this.#save(correction, isSplit);
      this.fix.tell(`Saved: ${savedWords(correction, told.split_into)}.${replacedWords(told.replaced, this.fix.reviewer)}`);
    });
  }

  /** Save all of these. False: one was refused, and the panel says why. */
  async saveAll(unsaved) {
    try {
      for (const one of unsaved) await this.#save(one, false);
    } catch (error) {
      this.fix.tell(error.message, "bad");
      return false;
    }
    this.app.tell(`Saved: ${framesOf(unsaved)}.`);
    return true;
  }

  async #save(correction, isSplit) {
    const { fix } = this, { panel } = this.app, category = written("named"), comment = written("comment");
    // Sent again after an answer that was not heard, it is saved once: a track would be split twice.
    const said = JSON.stringify([isSplit, category, comment]);
    if (correction.attempt?.said !== said) correction.attempt = { said, once: newId() };
    const told = await this.ask("api/fix/save", correction, {
      once: correction.attempt.once, reviewer: fix.reviewer, labeled_at: fix.player.current.labeled_at,
      seconds: Math.max(0, this.app.watch.seconds - this.since), is_split: isSplit,
      category, comment: correction.is_added ? null : comment, // a comment is the track's, and is kept for it
    });
    clear("named", category);
    if (!correction.is_added) clear("comment", comment);
    this.since = this.app.watch.seconds;
    Object.assign(correction, { isSaved: true, splitInto: told.split_into, attempt: null });
    this.saved.push({ correction, told });
    this.app.saved(correction, told);
    panel.dataset.saved = this.saved.length;
    return told;
  }

  /** One step back: of what was said of this frame, or else of what was saved last. */
  back() {
    const { now } = this.fix;
    if (now?.num_said && !now.isSaved) this.say({ kind: "undo" });
    else this.do(() => this.#withdraw());
  }

  async #withdraw() {
    const { fix } = this, last = this.saved.at(-1);
    if (!last) return this.#withdrawEarlier();
    const { correction, told } = last, { object_id, frame_index } = correction;
    const { video_id } = fix.player.current;
    const answer = await this.app.api.post("api/fix/withdraw", { id: correction.id, video_id, object_id, reviewer: fix.reviewer, ...told })
      .catch(error => {
        if (error.status >= 400 && error.status < 500) this.saved.pop(); // it would be refused again
        throw error;
      });
    this.saved.pop();
    this.app.takenBack(told);
    const earlier = this.saved.findLast(one => one.correction.object_id === object_id);
    if (earlier && answer.verdict_path) earlier.told.verdict_path = answer.verdict_path;
    const now = this.open.get(`${object_id} ${frame_index}`);
    if (now) Object.assign(now, { isSaved: false, isTakenBack: true, splitInto: null });
    fix.tell(`Taken back: what was saved of frame ${frame_index}.`);
    return undefined;
  }

  /** Of an earlier visit: what this reviewer has corrected of this object last. */
  async #withdrawEarlier() {
    const { fix } = this, { video_id } = fix.player.current;
    if (fix.added) return fix.tell("Nothing to take back.");
    const told = await this.app.api.post("api/undo", { video_id, object_id: fix.objectId, reviewer: fix.reviewer, of: "fix" });
    this.app.takenBack(told);
    for (const frame of told.frames) {
      this.open.delete(`${fix.objectId} ${frame}`); // it is opened anew, as it is without
      fix.player.forgetMasks(fix.objectId, frame);
    }
    fix.arrived();
    fix.tell(`Taken back: what you had saved of frame ${told.frames.join(", ")}.`);
    return undefined;
  }

  /** Throw these away, and show the stored masks again. */
  forget(corrections) {
    for (const { object_id, frame_index } of corrections) {
      this.open.delete(`${object_id} ${frame_index}`);
      this.fix.player.forgetMasks(object_id, frame_index);
    }
    if (corrections.includes(this.fix.now)) this.fix.now = null;
  }

  #key({ frame_index, isAdded }) { return `${isAdded ? this.fix.added : this.fix.player.current.object_id} ${frame_index}`; }

  #keep(told) { this.open.set(`${told.object_id} ${told.frame_index}`, told); }
}
