// Masks as COCO's compressed run-length code: base 32 from letter 48 on, column by column, runs of 0 and 1 in turn.

/** The run lengths of compressed counts. */
export function runLengths(counts) {
  const runs = [];
  let place = 0;
  while (place < counts.length) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const digit = counts.charCodeAt(place++) - 48;
      value += (digit & 31) * 2 ** shift;
      more = (digit & 32) !== 0;
      shift += 5;
      if (!more && digit & 16) value -= 2 ** shift;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

/** A mask in small: `{width, height, step, bits, box}`; a pixel of it stands for `step` pixels of the video. */
export function decode(counts, [width, height], step = 1) {
  const w = Math.ceil(width / step), h = Math.ceil(height / step);
  const bits = new Uint8Array(w * h);
  let left = w, top = h, right = -1, bottom = -1, start = 0;
  runLengths(counts).forEach((length, number) => {
    if (number % 2 && length > 0) {
      for (let at = start, end = start + length; at < end;) {
        const x = Math.floor(at / height), y = at - x * height;
        const stop = Math.min(height, y + end - at);
        if (x % step === 0) {
          const column = x / step, last = Math.floor((stop - 1) / step);
          for (let row = Math.ceil(y / step); row <= last; row++) bits[row * w + column] = 1;
          if (Math.ceil(y / step) <= last) {
            left = Math.min(left, column); right = Math.max(right, column);
            top = Math.min(top, Math.ceil(y / step)); bottom = Math.max(bottom, last);
          }
        }
        at += stop - y;
      }
    }
    start += length;
  });
  return { width: w, height: h, step, bits, box: right < 0 ? null : [left, top, right + 1, bottom + 1] };
}

/** Paint a decoded mask into the pixels of a canvas of its size: a tint of `alpha` (0 … 1), and a line around it. */
export function paint(image, mask, [red, green, blue], alpha, line, thickness) {
  if (!mask.box) return;
  const { width: w, height: h, bits, box: [left, top, right, bottom] } = mask;
  const pixels = new Uint32Array(image.data.buffer);
  const color = (red | (green << 8) | (blue << 16)) >>> 0;
  const inside = (color | (Math.round(alpha * 255) << 24)) >>> 0, edge = (color | (Math.round(line * 255) << 24)) >>> 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const at = y * w + x;
      if (!bits[at]) continue;
      let isEdge = false;
      for (let far = 1; far <= thickness && !isEdge; far++) {
        isEdge = (x >= far && !bits[at - far]) || (x + far < w && !bits[at + far])
          || (y >= far && !bits[at - far * w]) || (y + far < h && !bits[at + far * w]);
      }
      if (isEdge) pixels[at] = edge;
      else if (alpha) pixels[at] = inside;
    }
  }
}

/** Draw an RLE onto a canvas that has the size of the video, or a part of it. */
export function drawMask(context, counts, size, color, alpha = 0.45) {
  const mask = decode(counts, size);
  const image = new ImageData(mask.width, mask.height);
  paint(image, mask, color, alpha, 1, 2);
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(canvas, 0, 0, size[0], size[1]);
}
