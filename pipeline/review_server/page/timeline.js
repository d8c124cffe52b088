// The course of a track over its frames: object score, predicted IoU and area, where it is hidden, where to look.

const LANES = [
  { name: "object score", column: "object_score", color: "--score" },
  { name: "predicted IoU", column: "predicted_iou", color: "--iou", range: [0, 1] },
  { name: "area", column: "area", color: "--area" },
];
const LEFT = 96, RIGHT = 10, TOP = 8, BOTTOM = 8;

export class Timeline {
  /** `seek(place)` is called with a place among the frames while somebody points. */
  constructor(canvas, seek) {
    this.canvas = canvas;
    this.track = null;
    this.place = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    const point = event => {
      if (!this.track?.frames.length) return;
      const x = event.clientX - canvas.getBoundingClientRect().left;
      seek(Math.round((x - LEFT) / this.#width * Math.max(1, this.track.frames.length - 1)));
    };
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); point(event); });
    canvas.addEventListener("pointermove", event => { if (event.buttons) point(event); });
  }

  get #width() { return Math.max(1, this.canvas.clientWidth - LEFT - RIGHT); }

  show(track) {
    this.track = track;
    this.still = null;
    this.draw();
  }

  /** Move the line of the frame that is shown. */
  move(place) {
    this.place = place;
    this.#paint();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas, ratio = devicePixelRatio || 1;
    if (!width || !height) return;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    // What stays while the frame moves is drawn once.
    this.still = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    const pen = this.still.getContext("2d");
    pen.scale(ratio, ratio);
    if (this.track) this.#drawStill(pen, width, height);
    this.#paint();
  }

  #paint() {
    if (!this.still) return;
    const pen = this.canvas.getContext("2d"), ratio = devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.drawImage(this.still, 0, 0);
    if (!this.track?.frames.length) return;
    pen.scale(ratio, ratio);
    const x = this.#x(this.place);
    pen.fillStyle = this.#color("--ink");
    pen.fillRect(x - 1, 2, 2, this.canvas.clientHeight - 4);
  }

  #x(place) { return LEFT + place / Math.max(1, this.track.frames.length - 1) * this.#width; }

  #color(name) { return getComputedStyle(this.canvas).getPropertyValue("--" + name.replace(/^--/, "")) && this.#resolved(name); }

  /** `light-dark()` is no color for a canvas: an element tells what it comes to. */
  #resolved(name) {
    this.probe ??= this.canvas.parentElement.appendChild(Object.assign(document.createElement("i"), { hidden: true }));
    this.probe.style.color = `var(${name})`;
    return getComputedStyle(this.probe).color;
  }

  #drawStill(pen, width, height) {
    const { series, frames } = this.track;
    const placeOf = new Map(frames.map((frame, place) => [frame, place]));
    const xs = series.frame_index.map(frame => this.#x(placeOf.get(frame) ?? 0));
    this.#drawHidden(pen, xs, series.area, height);
    const lane = (height - TOP - BOTTOM) / LANES.length;
    pen.font = "12px system-ui, sans-serif";
    LANES.forEach(({ name, column, color, range }, number) => {
      const top = TOP + number * lane + 3, bottom = TOP + (number + 1) * lane - 3;
      const values = series[column].map((value, place) => (column === "predicted_iou" && !series.area[place] ? null : value));
      const known = values.filter(value => value !== null);
      const [low, high] = range ?? [Math.min(0, ...extent(known)), Math.max(1, ...extent(known))];
      pen.fillStyle = this.#color("--soft");
      pen.fillText(name, 8, (top + bottom) / 2 + 4);
      pen.strokeStyle = this.#color("--line");
      pen.lineWidth = 1;
      const zero = bottom - (0 - low) / (high - low) * (bottom - top);
      line(pen, LEFT, zero, width - RIGHT, zero);
      pen.strokeStyle = this.#color(color);
      pen.lineWidth = 1.6;
      course(pen, xs, values, value => bottom - (value - low) / (high - low) * (bottom - top));
    });
    for (const frame of this.track.prompt_frames) {
      if (placeOf.has(frame)) triangle(pen, this.#x(placeOf.get(frame)), height - 3, this.#color("--accent"));
    }
    const doubtful = placeOf.get(this.track.doubt_frame);
    if (doubtful !== undefined) {
      pen.fillStyle = pen.strokeStyle = this.#color("--warn");
      pen.lineWidth = 2;
      pen.setLineDash([5, 3]);
      line(pen, this.#x(doubtful), 10, this.#x(doubtful), height - 2);
      pen.setLineDash([]);
      pen.beginPath();
      pen.arc(this.#x(doubtful), 7, 4.5, 0, 7);
      pen.fill();
    }
  }

  #drawHidden(pen, xs, areas, height) {
    pen.fillStyle = this.#color("--raised");
    const half = Math.max(0.7, this.#width / Math.max(1, this.track.frames.length - 1) / 2);
    for (let place = 0; place < xs.length; place++) {
      if (areas[place]) continue;
      const first = place;
      while (place + 1 < xs.length && !areas[place + 1]) place++;
      pen.fillRect(xs[first] - half, 2, xs[place] - xs[first] + 2 * half, height - 4);
    }
  }
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return values.length ? [low, high] : [0, 1];
}

function line(pen, x0, y0, x1, y1) {
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
  pen.stroke();
}

/** A line through values that are known. Of several in one column of pixels, the lowest and the highest are drawn. */
function course(pen, xs, values, y) {
  pen.beginPath();
  let isDown = false, place = 0;
  while (place < xs.length) {
    const column = Math.round(xs[place] * 2);
    let low = null, high = null, isBroken = false, count = 0;
    for (; place < xs.length && Math.round(xs[place] * 2) === column; place++, count++) {
      const value = values[place];
      if (value === null) { isBroken = true; continue; }
      low = low === null ? value : Math.min(low, value);
      high = high === null ? value : Math.max(high, value);
    }
    if (low === null) { isDown = false; continue; }
    const x = column / 2;
    isDown ? pen.lineTo(x, y(low)) : pen.moveTo(x, y(low));
    if (high !== low) pen.lineTo(x, y(high)); else if (!isDown) pen.lineTo(x + 0.8, y(low));
    isDown = !(isBroken && count === 1);
  }
  pen.stroke();
}

function triangle(pen, x, y, color) {
  pen.fillStyle = color;
  pen.beginPath();
  pen.moveTo(x - 5, y);
  pen.lineTo(x + 5, y);
  pen.lineTo(x, y - 8);
  pen.fill();
}
