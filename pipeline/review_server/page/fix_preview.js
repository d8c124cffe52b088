// The preview of fix mode: the masks that follow from a correction on the next frames, as the next run will make them.

const PREVIEWED = 24;

export class Preview {
  constructor(fix) {
    Object.assign(this, { fix, shown: null });
  }

  /** Whether masks of a preview are shown, or on their way. */
  get isOn() { return this.shown !== null; }
  get isRunning() { return Boolean(this.shown?.abort); }

  /** Begin, or stop one that runs. `direction` is 1 or -1. */
  toggle(direction) {
    const { fix, isRunning } = this;
    this.stop(!isRunning);
    if (isRunning) return;
    const { place } = fix.corrections;
    fix.corrections.do(async () => {
      const from = await fix.corrections.opened(place);
      const preview = { from, abort: new AbortController(), count: 0, end: "" };
      this.shown = preview;
      fix.draw();
      this.#run(preview, direction).catch(error => {
        if (error.name !== "AbortError") fix.tell(error.message, "bad");
      }).finally(() => {
        preview.abort = null;
        fix.app.panel.dataset.previewed = preview.count;
        fix.draw();
      });
    });
  }

  /** Stop it; with `isOver` the stored masks are shown again, and the frame from which it began. */
  stop(isOver = false) {
    const { fix, shown } = this;
    if (!shown) return;
    shown.abort?.abort();
    shown.abort = null;
    if (!isOver && fix.isOn) return;
    this.#forget();
    for (const one of fix.corrections.open.values()) {
      if (one.num_said && fix.isOn) fix.player.showMask(one.object_id, one.frame_index, one.area ? one.counts : null);
    }
    if (fix.isOn) fix.player.seek(shown.from.frame_index);
  }

  /** The reviewer goes on with a frame, which ends the preview. False: the mask that it came from is not saved yet. */
  mayGoOn() {
    if (!this.shown) return true;
    const { fix, shown: { from, abort } } = this;
    if (fix.player.current.frame_index !== from.frame_index && from.num_said && !from.isSaved) {
      fix.tell(`Save frame ${from.frame_index} first (escape, enter): this frame follows from it.`, "bad");
      return false;
    }
    abort?.abort();
    this.#forget();
    fix.now = fix.corrections.here;
    return true;
  }

  /** What the panel says of it. */
  get words() {
    const { from, count, end } = this.shown;
    const how = this.isRunning ? "p stops" : "arrow keys look at it, escape ends it";
    return `preview of ${count} frames from frame ${from.frame_index}: ${how}${end ? `. ${end}` : ""}`;
  }

  #forget() {
    const { from } = this.shown;
    this.shown = null;
    this.fix.player.forgetMasks(from.object_id);
  }

  async #run(preview, direction) {
    const { fix } = this, { from } = preview;
    const ask = () => fetch("api/fix/preview", {
      method: "POST", signal: preview.abort.signal, headers: { "content-type": "application/json" },
      body: JSON.stringify({ id: from.id, num_frames: PREVIEWED, direction }),
    });
    let response = await ask();
    if (response.status === 410) { // the server has closed it
      await fix.corrections.openAgain(from);
      response = await ask();
    }
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
        if (this.shown !== preview || !preview.abort) return;
        if (seen.end) {
          preview.end = seen.end;
          continue;
        }
        fix.player.showMask(from.object_id, seen.frame_index, seen.area ? seen.counts : null);
        preview.count++;
        await fix.player.seek(seen.frame_index);
        fix.draw();
      }
    }
  }
}
