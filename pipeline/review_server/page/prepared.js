// What is read of a track before it is shown: its frames, its masks, its course.

import { get, getBlob } from "./api.js";

export const STRETCH = 64; // frames whose masks are read at once
const MOST_PIXELS = 90e6; // of decoded frames that are kept of the track that is shown: 360 MB
const FEW_PIXELS = 12e6; // of one that was shown, or will be

/** Frames of a video as bitmaps: those that were shown longest ago leave first. */
class Frames {
  constructor(query) {
    this.query = query;
    this.bitmaps = new Map();
    this.pixels = 0;
    this.most = FEW_PIXELS;
    this.ahead = 4; // frames that the server decodes after one that is asked for
    this.abort = new AbortController();
  }

  /** The bitmap of a frame; a promise of it is kept, so that nobody asks twice. */
  get(index) {
    let found = this.bitmaps.get(index);
    if (found) {
      this.bitmaps.delete(index);
    } else {
      found = getBlob("api/frame", { ...this.query, frame: index, ahead: this.ahead }, this.abort.signal).then(createImageBitmap);
      found.then(bitmap => {
        found.ready = bitmap;
        this.pixels += bitmap.width * bitmap.height;
        this.#trim(found);
      }, () => this.bitmaps.delete(index));
    }
    this.bitmaps.set(index, found);
    return found;
  }

  /** The track is shown: keep more. */
  grow() {
    this.most = MOST_PIXELS;
    this.ahead = null;
  }

  /** Another track is shown. */
  shrink() {
    this.most = FEW_PIXELS;
    this.#trim(null);
  }

  #trim(newest) {
    for (const [index, old] of this.bitmaps) {
      if (this.pixels <= this.most || this.bitmaps.size < 4) return;
      if (!old.ready || old === newest) continue;
      this.pixels -= old.ready.width * old.ready.height;
      this.bitmaps.delete(index);
    }
  }

  close() {
    this.abort.abort();
    this.bitmaps.clear();
  }
}

/** What is read of a track before it is shown; made ahead for the next one. */
export class Prepared {
  constructor(row) {
    this.row = row;
    const names = { video: row.video_id, object: row.object_id };
    this.query = { video: row.video_id, of: row.video_at };
    this.frames = new Frames(this.query);
    this.stretches = new Map();
    this.track = get("api/track", names);
    // The two that show first. Whoever opens the track hears of a fault.
    this.ready = this.track.then(track => {
      this.first = firstFrame(track);
      if (this.first === null) return;
      this.frames.get(this.first).catch(() => {});
      this.masks(track, track.frames.indexOf(this.first)).catch(() => {});
    });
    this.ready.catch(() => {});
  }

  /** The masks around a place among the frames: `{frame: {object: counts}}` of a stretch. */
  masks(track, place) {
    const number = Math.floor(place / STRETCH);
    if (!this.stretches.has(number)) {
      const start = track.frames[number * STRETCH];
      const last = track.frames[Math.min(track.frames.length, (number + 1) * STRETCH) - 1];
      const found = get("api/masks", { ...this.query, start, stop: last + 1 }).then(told => {
        found.ready = told.frames;
        return told.frames;
      });
      found.catch(() => this.stretches.delete(number));
      this.stretches.set(number, found);
    }
    return this.stretches.get(number);
  }

  close() {
    this.frames.close();
    this.stretches.clear();
  }
}

function firstFrame(track) {
  const known = new Set(track.frames);
  const shows = track.series.frame_index.find((frame, place) => track.series.area[place] > 0);
  return [track.doubt_frame, track.prompt_frames[0], shows, track.frames[0]].find(frame => known.has(frame)) ?? null;
}
