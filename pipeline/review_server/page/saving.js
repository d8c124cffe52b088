// Verdicts on their way to the store. Each waits in the browser's own storage until the server says that it is saved, so
// that a page that is closed, or a server that is down, loses none.

import { newId, post } from "./api.js";

const PAUSES = [1, 2, 5, 10]; // seconds before a verdict is sent again

export class Saving extends EventTarget {
  /** `key` keeps outputs apart. Events: `state`, `saved` and `refused`, the last two with the verdict and the answer. */
  constructor(key, storage = localStorage) {
    super();
    this.prefix = `maskmill.${key}.outbox.`;
    this.storage = storage;
    this.queue = [];
    this.left = new Set(); // ids of those of another page, which may be open still
    this.fault = "";
    this.isSending = false;
    this.hasSaved = false;
  }

  /** Take up what an earlier page has left. */
  begin() {
    const left = Object.keys(this.storage).filter(name => name.startsWith(this.prefix)).sort();
    for (const name of left) {
      try {
        const verdict = JSON.parse(this.storage.getItem(name));
        this.left.add(verdict.id);
        this.queue.push(verdict);
      } catch {
        this.storage.removeItem(name);
      }
    }
    this.#send();
  }

  /** Say something. Returns the verdict with its id. */
  say(body) {
    const verdict = { ...body, id: newId() };
    try {
      this.storage.setItem(this.prefix + verdict.id, JSON.stringify(verdict));
    } catch { /* the storage is full or forbidden: the verdict is sent all the same */ }
    this.queue.push(verdict);
    this.#send();
    return verdict;
  }

  /** Take a verdict back that was not sent yet. */
  drop(id) {
    const at = this.queue.findIndex(one => one.id === id);
    if (at < 0 || (at === 0 && this.isPosting)) return false;
    this.#done(this.queue[at]);
    this.dispatchEvent(new Event("state"));
    return true;
  }

  get num() { return this.queue.length; }

  /** Try again at once. */
  hurry() { this.wake?.(); }

  #done(verdict) {
    this.queue = this.queue.filter(one => one !== verdict);
    this.storage.removeItem(this.prefix + verdict.id);
  }

  async #send() {
    this.dispatchEvent(new Event("state"));
    if (this.isSending) return;
    this.isSending = true;
    let tries = 0;
    while (this.queue.length) {
      const [verdict] = this.queue;
      if (this.left.has(verdict.id) && this.storage.getItem(this.prefix + verdict.id) === null) {
        this.#done(verdict); // the other page has sent it, or taken it back
        continue;
      }
      try {
        this.isPosting = true;
        const told = await post("api/verdicts", verdict).finally(() => { this.isPosting = false; });
        this.#done(verdict);
        this.fault = "";
        this.hasSaved = true;
        tries = 0;
        this.dispatchEvent(new CustomEvent("saved", { detail: { verdict, told } }));
      } catch (error) {
        if (error.status >= 400 && error.status < 500 && error.status !== 403 && error.status !== 408) {
          this.#done(verdict); // it would be refused again
          this.dispatchEvent(new CustomEvent("refused", { detail: { verdict, error } }));
        } else {
          this.fault = error.message;
          this.dispatchEvent(new Event("state"));
          await new Promise(resolve => {
            this.wake = resolve;
            setTimeout(resolve, 1000 * PAUSES[Math.min(tries++, PAUSES.length - 1)]);
          });
        }
      }
      this.dispatchEvent(new Event("state"));
    }
    this.isSending = false;
    this.dispatchEvent(new Event("state"));
  }
}

/** Words that are not saved yet, of each track, in the browser's own storage. */
export class Drafts {
  constructor(key, storage = localStorage) {
    this.prefix = `maskmill.${key}.draft.`;
    this.storage = storage;
  }

  get(row) {
    try {
      return JSON.parse(this.storage.getItem(this.#name(row))) ?? {};
    } catch {
      return {};
    }
  }

  set(row, draft) {
    const isEmpty = !draft.comment && !draft.category;
    try {
      if (isEmpty) this.storage.removeItem(this.#name(row));
      else this.storage.setItem(this.#name(row), JSON.stringify(draft));
    } catch { /* full or forbidden: the field keeps it while the track is shown */ }
  }

  #name(row) { return `${this.prefix}${row.object_id} ${row.video_id}`; }
}

/** Seconds that somebody has looked at a track: those in which nothing was done for half a minute do not count. */
export class Stopwatch {
  constructor(idle = 30, now = () => performance.now() / 1000) {
    Object.assign(this, { idle, now });
    this.reset();
    for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) {
      addEventListener(kind, () => this.touch(), { passive: true, capture: true });
    }
  }

  reset() {
    this.sum = 0;
    this.last = this.now();
  }

  /** Something was done: the time since counts, up to the bound. */
  touch() {
    const now = this.now();
    this.sum += Math.min(now - this.last, this.idle);
    this.last = now;
  }

  get seconds() {
    this.touch();
    return Math.round(this.sum * 10) / 10;
  }
}
