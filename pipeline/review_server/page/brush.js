// A mask under a brush: its pixels at the size of the video, and the way back to COCO's compressed run-length code.

import { decode } from "./rle.js";

/** The compressed counts of pixels `bits`, which are stored row by row: the inverse of `runLengths`. */
export function encode(bits, [width, height]) {
  const runs = [];
  let value = 0, length = 0;
  for (let x = 0; x < width; x++) {
    for (let at = x; at < width * height; at += width) {
      if (bits[at] === value) length++;
      else {
        runs.push(length);
        value = bits[at];
        length = 1;
      }
    }
  }
  runs.push(length);
  let text = "";
  runs.forEach((run, number) => {
    let left = number > 2 ? run - runs[number - 2] : run, more = true;
    while (more) {
      let digit = left & 31;
      left >>= 5;
      more = digit & 16 ? left !== -1 : left !== 0;
      if (more) digit |= 32;
      text += String.fromCharCode(digit + 48);
    }
  });
  return text;
}

/** One stroke on a mask. `value` is 1 to draw and 0 to erase. */
export class Stroke {
  constructor(counts, size, value) {
    this.size = size;
    this.value = value;
    this.bits = counts === null ? new Uint8Array(size[0] * size[1]) : decode(counts, size).bits;
    this.last = null;
  }

  /** Go on to a point, with a round brush of this radius in pixels of the video. */
  to([x, y], radius) {
    const [fromX, fromY] = this.last ?? [x, y];
    const count = Math.max(1, Math.ceil(Math.hypot(x - fromX, y - fromY) / Math.max(1, radius / 2)));
    for (let step = 1; step <= count; step++) {
      this.#dab(fromX + (x - fromX) * step / count, fromY + (y - fromY) * step / count, radius);
    }
    this.last = [x, y];
  }

  get counts() { return encode(this.bits, this.size); }

  #dab(x, y, radius) {
    const [width, height] = this.size;
    const top = Math.max(0, Math.floor(y - radius)), bottom = Math.min(height - 1, Math.ceil(y + radius));
    for (let row = top; row <= bottom; row++) {
      const half = Math.sqrt(Math.max(0, radius ** 2 - (row + 0.5 - y) ** 2));
      const left = Math.max(0, Math.round(x - half)), right = Math.min(width, Math.round(x + half));
      if (left < right) this.bits.fill(this.value, row * width + left, row * width + right);
    }
  }
}
