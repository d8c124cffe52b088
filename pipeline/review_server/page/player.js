// The player: frames of one track with its masks, step by step or played. Its contract with fix mode stands in app.py.

import { STRETCH } from "./prepared.js";
import { decode, paint } from "./rle.js";

const AHEAD = 12; // frames that are fetched before they are shown
const MOST_CANVAS = 1920; // a larger mask is drawn in small
const FAINT = { alpha: 0.1, line: 0.55 }, STRONG = { alpha: 0.38, line: 1 };
const SHOWN = ["all", "this", "outline", "none"];

export class Player extends EventTarget {
  constructor(elements) {
    super();
    Object.assign(this, elements); // stage, stack, frame, masks, overlay, message, mode
    this.track = null;
    this.place = 0;
    this.isPlaying = false;
    this.speed = 1;
    this.shown = "all";
    this.replaced = new Map();
    this.view = { scale: 1, x: 0, y: 0 };
    this.handler = null;
    this.opening = 0;
    this.drawing = 0;
    this.why = "";
    this.failures = 0;
    new ResizeObserver(() => this.fit()).observe(this.stage);
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.stage.addEventListener(kind, event => this.#pointed(kind, event));
    }
    this.stage.addEventListener("wheel", event => this.#wheeled(event), { passive: false });
    this.stage.addEventListener("dblclick", () => { if (!this.handler) this.resetView(); });
  }

  /** What is shown, or null. */
  get current() {
    if (!this.track || !this.frames.length) return null;
    const { video_id, object_id, video, labeled_at } = this.track;
    return {
      video_id, object_id, labeled_at, frame_index: this.frames[this.place], size: [video.width, video.height],
      pixel_aspect: video.pixel_aspect ?? 1,
    };
  }

  get frames() { return this.track?.frames ?? []; }

  /** Show a track that was prepared, at its doubtful frame. The frame of before stays until there is one. */
  async open(prepared) {
    this.leaveMode();
    this.pause();
    const opening = ++this.opening;
    const track = await prepared.track;
    await prepared.ready;
    if (opening !== this.opening) return false;
    if (this.prepared !== prepared) this.prepared?.frames.shrink();
    prepared.frames.grow();
    this.prepared = prepared;
    this.track = track;
    this.why = "";
    this.failures = 0;
    this.replaced.clear();
    this.view = { scale: 1, x: 0, y: 0 };
    this.#size();
    this.colors = new Map(track.objects.map(one => [String(one.object_id), one.color]));
    this.place = Math.max(0, track.frames.indexOf(prepared.first));
    this.dispatchEvent(new CustomEvent("track", { detail: this.current }));
    await this.#draw();
    return true;
  }

  clear() {
    this.opening++;
    this.drawing++;
    this.leaveMode();
    this.pause();
    this.track = this.prepared = null;
    for (const canvas of [this.frame, this.masks, this.overlay]) canvas.width = canvas.height = 1;
    this.message.hidden = true;
  }

  /** The video has more frames than were shown: those on which nothing is labeled. The frame that is shown stays. */
  async extend({ frames, times }) {
    const index = this.frames[this.place];
    Object.assign(this.track, { frames, times });
    this.prepared.stretches.clear();
    this.place = Math.max(0, frames.indexOf(index));
    this.dispatchEvent(new Event("extended"));
    await this.#draw();
  }

  // Where it stands

  seek(frameIndex) { return this.go(nearest(this.frames, frameIndex)); }

  step(count) {
    this.pause();
    return this.go(this.place + count);
  }

  async go(place) {
    if (!this.frames.length) return;
    this.place = Math.max(0, Math.min(this.frames.length - 1, place));
    await this.#draw();
  }

  play() {
    if (this.isPlaying || this.frames.length < 2) return;
    if (this.place === this.frames.length - 1) this.place = 0;
    this.isPlaying = true;
    this.dispatchEvent(new Event("playing"));
    this.#run();
  }

  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.dispatchEvent(new Event("playing"));
  }

  /** Frames follow each other at their own times, and wait for the next one where it is not there yet. */
  async #run() {
    let due = performance.now();
    while (this.isPlaying && this.place < this.frames.length - 1) {
      const [from, to] = [this.track.times[this.place], this.track.times[this.place + 1]];
      const seconds = from === null || to === null || to <= from ? 1 / (this.track.video.fps || 10) : to - from;
      due = Math.max(due + 1000 * seconds / this.speed, performance.now() - 40);
      const opening = this.opening;
      while (performance.now() < due - 4) await new Promise(requestAnimationFrame);
      if (!this.isPlaying || opening !== this.opening) return;
      await this.go(this.place + 1);
      await new Promise(requestAnimationFrame);
    }
    this.pause();
  }

  // Masks

  show(which) {
    this.shown = which;
    this.#drawMasks();
  }

  nextShown() {
    this.show(SHOWN[(SHOWN.indexOf(this.shown) + 1) % SHOWN.length]);
    return this.shown;
  }

  showMask(objectId, frameIndex, counts) {
    this.replaced.set(`${objectId} ${frameIndex}`, counts);
    this.#drawMasks();
  }

  forgetMasks(objectId = null, frameIndex = null) {
    for (const key of [...this.replaced.keys()]) {
      const [object, frame] = key.split(" ");
      if ((objectId === null || object === String(objectId)) && (frameIndex === null || frame === String(frameIndex))) {
        this.replaced.delete(key);
      }
    }
    this.#drawMasks();
  }

  // Modes

  enterMode(handler) {
    this.leaveMode();
    this.pause();
    this.handler = handler;
    this.mode.textContent = handler.name ?? "";
    this.mode.hidden = !handler.name;
    this.stage.classList.add("in-mode");
  }

  /** Whether the mode may be left: it asks the reviewer where something would be lost. True where there is none. */
  async mayLeave() { return (await this.handler?.mayLeave?.()) ?? true; }

  leaveMode() {
    if (!this.handler) return;
    const { handler } = this;
    this.handler = null;
    this.mode.hidden = true;
    this.stage.classList.remove("in-mode");
    this.#wipe(this.overlay);
    handler.leave?.();
    this.dispatchEvent(new Event("left"));
  }

  /** Whether a mode has taken a key. */
  takesKey(event) {
    if (!this.handler) return false;
    if (this.handler.keydown?.(event) === true) return true;
    if (event.key === "Escape") this.leaveMode();
    return event.key === "Escape";
  }

  /** Where a pointer is, in pixels of the video. */
  at(event) {
    const box = this.overlay.getBoundingClientRect();
    const { width, height } = this.track.video;
    return [(event.clientX - box.left) / box.width * width, (event.clientY - box.top) / box.height * height];
  }

  // The view

  fit() {
    if (!this.track?.video.width) return;
    const { width, height, pixel_aspect: aspect } = this.track.video;
    const w = width * (aspect ?? 1), h = height;
    const scale = Math.min(this.stage.clientWidth / w, this.stage.clientHeight / h);
    this.fitted = { width: w * scale, height: h * scale };
    this.stack.style.width = `${this.fitted.width}px`;
    this.stack.style.height = `${this.fitted.height}px`;
    this.#place();
  }

  resetView() {
    this.view = { scale: 1, x: 0, y: 0 };
    this.#place();
  }

  /** Closer to the object, or back. */
  zoom() {
    const mask = this.lastMask;
    if (this.view.scale > 1.01 || !mask?.box) {
      this.resetView();
      return;
    }
    const [left, top, right, bottom] = mask.box;
    const share = Math.max((right - left) / mask.width, (bottom - top) / mask.height, 0.02);
    const scale = Math.min(12, Math.max(1.3, 0.5 / share));
    const x = (left + right) / 2 / mask.width * this.fitted.width, y = (top + bottom) / 2 / mask.height * this.fitted.height;
    this.view = { scale, x: this.fitted.width / 2 - x * scale, y: this.fitted.height / 2 - y * scale };
    this.#place();
  }

  #place() {
    if (!this.fitted) return;
    const left = (this.stage.clientWidth - this.fitted.width) / 2, top = (this.stage.clientHeight - this.fitted.height) / 2;
    const { scale, x, y } = this.view;
    this.stack.style.transform = `translate(${left + x}px, ${top + y}px) scale(${scale})`;
    this.frame.style.imageRendering = this.masks.style.imageRendering =
      this.fitted.width * scale / (this.track?.video.width || 1) > 3 ? "pixelated" : "auto";
  }

  #wheeled(event) {
    if (!this.fitted) return;
    event.preventDefault();
    const box = this.stage.getBoundingClientRect();
    const left = (this.stage.clientWidth - this.fitted.width) / 2, top = (this.stage.clientHeight - this.fitted.height) / 2;
    const px = event.clientX - box.left - left, py = event.clientY - box.top - top;
    const { scale, x, y } = this.view;
    const wanted = Math.min(20, Math.max(1, scale * Math.exp(-event.deltaY / 400)));
    if (wanted === 1) {
      this.resetView();
      return;
    }
    this.view = { scale: wanted, x: px - (px - x) * wanted / scale, y: py - (py - y) * wanted / scale };
    this.#place();
  }

  #pointed(kind, event) {
    if (!this.track || event.target.closest(".message")) return;
    if (this.handler) {
      if (kind === "pointerdown") this.stage.setPointerCapture(event.pointerId);
      this.handler[kind]?.(event, this.at(event));
      return;
    }
    if (kind === "pointerdown" && this.view.scale > 1) {
      this.stage.setPointerCapture(event.pointerId);
      this.dragged = { x: event.clientX - this.view.x, y: event.clientY - this.view.y };
    } else if (kind === "pointermove" && this.dragged) {
      Object.assign(this.view, { x: event.clientX - this.dragged.x, y: event.clientY - this.dragged.y });
      this.#place();
    } else if (kind !== "pointermove") {
      this.dragged = null;
    }
  }

  // Drawing

  #size() {
    const { width, height } = this.track.video;
    this.step_ = Math.max(1, Math.ceil(Math.max(width, height) / MOST_CANVAS));
    const sizes = [[this.masks, this.step_], [this.overlay, 1]];
    for (const [canvas, step] of sizes) {
      canvas.width = Math.ceil((width ?? 1) / step);
      canvas.height = Math.ceil((height ?? 1) / step);
    }
    this.fit();
  }

  #wipe(canvas) { canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height); }

  async #draw() {
    if (!this.frames.length) {
      this.#tell("this video has no frames with masks");
      return;
    }
    const { prepared, place, track } = this, drawing = ++this.drawing, index = this.frames[place];
    const [masks, bitmap] = await Promise.allSettled([
      prepared.masks(track, place), this.why ? Promise.reject(this.why) : prepared.frames.get(index),
    ]);
    if (drawing !== this.drawing) return;
    if (bitmap.status === "fulfilled") {
      this.frame.width = bitmap.value.width;
      this.frame.height = bitmap.value.height;
      this.frame.getContext("2d").drawImage(bitmap.value, 0, 0);
      this.message.hidden = true;
      this.failures = 0;
    } else {
      this.frame.width = this.frame.height = 1;
      // One frame may be damaged. After two faults in a row it is the file, which is not asked for each frame again.
      if (++this.failures > 1) this.why = bitmap.reason;
      this.#tell(`No picture, masks alone: ${bitmap.reason.message}`);
    }
    if (masks.status === "rejected") this.#tell(`No masks: ${masks.reason.message}`);
    this.#drawMasks();
    this.#ahead(place);
    this.dispatchEvent(new CustomEvent("frame", { detail: this.current }));
  }

  /** Ask for what comes next, and for one before, in the background. */
  #ahead(place) {
    const { prepared, track } = this;
    const next = Math.min(this.frames.length - 1, place + STRETCH / 2);
    prepared.masks(track, next).catch(() => {});
    if (this.why) return;
    const count = this.isPlaying ? AHEAD : 3;
    for (let far = 1; far <= count && place + far < this.frames.length; far++) {
      prepared.frames.get(this.frames[place + far]).catch(() => {});
    }
    if (!this.isPlaying && place > 0) prepared.frames.get(this.frames[place - 1]).catch(() => {});
  }

  #drawMasks() {
    if (!this.track || !this.masks.width) return;
    const context = this.masks.getContext("2d"), { width, height } = this.masks;
    const image = new ImageData(width, height);
    this.lastMask = null;
    const index = this.frames[this.place], mine = String(this.track.object_id);
    const stored = this.prepared.stretches.get(Math.floor(this.place / STRETCH))?.ready?.[index] ?? {};
    const found = new Map(Object.entries(stored));
    for (const [key, counts] of this.replaced) {
      const [object, frame] = key.split(" ");
      if (frame === String(index)) counts === null ? found.delete(object) : found.set(object, counts);
    }
    const thickness = Math.max(1, Math.round(width / Math.max(1, this.fitted?.width ?? width) * 1.6));
    const order = [...found.keys()].sort((a, b) => (a === mine) - (b === mine));
    for (const object of order) {
      const isMine = object === mine;
      const size = [this.track.video.width, this.track.video.height];
      if (!isMine && this.shown !== "all") continue;
      const mask = decode(found.get(object), size, this.step_);
      if (isMine) this.lastMask = mask;
      if (this.shown === "none") continue;
      const look = isMine ? STRONG : FAINT;
      const color = this.colors.get(object) ?? [255, 255, 255];
      paint(image, mask, color, this.shown === "outline" ? 0 : look.alpha, look.line, isMine ? thickness : 1);
    }
    context.putImageData(image, 0, 0);
  }

  #tell(text) {
    this.message.textContent = text;
    const again = document.createElement("button");
    again.textContent = "try again";
    again.addEventListener("click", () => { this.why = ""; this.failures = 0; this.#draw(); });
    this.message.append(again);
    this.message.hidden = false;
  }
}

function nearest(frames, index) {
  let low = 0, high = frames.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle] < index) low = middle + 1; else high = middle;
  }
  return low > 0 && index - frames[low - 1] < frames[low] - index ? low - 1 : low;
}
