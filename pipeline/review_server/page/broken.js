// Objects that failed, or of which the job has something to say, and the way to take their corrections back.

import { get, post } from "./api.js";
import { $, tell } from "./shell.js";

export class Broken {
  /** `changed()` is called after corrections were taken back, `open(row)` shows a track that has masks. */
  constructor({ changed, open }) {
    Object.assign(this, { changed, open });
    $("brokenclose").addEventListener("click", () => $("broken").close());
    $("broken").addEventListener("keydown", event => this.#move(event));
  }

  /** Show them, those of the video of `row` first. */
  async show(row) {
    try {
      const { total, rows } = await get("api/broken", { video: row?.video_id });
      const none = "No object has failed, and the job has nothing to say of any.";
      const few = total > rows.length ? ` The first ${rows.length} of ${total.toLocaleString("en")}:` : "";
      $("brokenlead").textContent = total ? `They failed, or the last run could not do what was corrected.${few}` : none;
      $("brokenlist").replaceChildren(...rows.map(one => this.#item(one)));
      if (!$("broken").open) $("broken").showModal();
      ($("brokenlist").querySelector("button") ?? $("brokenclose")).focus();
    } catch (error) {
      tell(error.message, "bad");
    }
  }

  /** The arrow keys go through the buttons. */
  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...$("broken").querySelectorAll("button:not(:disabled)")];
    buttons[Math.max(0, Math.min(buttons.length - 1, buttons.indexOf(document.activeElement) + step))]?.focus();
  }

  #item(row) {
    const item = document.createElement("li"), name = document.createElement("b"), why = document.createElement("span");
    const acts = document.createElement("div");
    const isFailed = row.status === "failed";
    acts.className = "acts";
    name.textContent = `#${row.object_id} of ${row.video_id}${isFailed ? " · failed" : ""}`;
    why.textContent = row.message || "no message";
    if (row.corrected_frames.length) acts.append(this.#withdrawing(row));
    else if (isFailed) acts.append(Object.assign(document.createElement("i"), { textContent: "no corrections" }));
    if (!isFailed) acts.append(this.#opening(row));
    item.append(name, why, acts);
    return item;
  }

  #opening({ video_id, object_id }) {
    const button = document.createElement("button");
    button.textContent = "open it";
    button.addEventListener("click", async () => {
      try {
        const row = await get("api/track", { video: video_id, object: object_id });
        $("broken").close();
        await this.open(row);
      } catch (error) {
        tell(error.message, "bad");
      }
    });
    return button;
  }

  #withdrawing(row) {
    const button = document.createElement("button");
    button.textContent = `withdraw its corrections (${row.corrected_frames.length})`;
    button.title = `frames ${row.corrected_frames.join(", ")}`;
    button.addEventListener("click", () => this.#withdraw(row, button));
    return button;
  }

  async #withdraw({ video_id, object_id }, button) {
    button.disabled = true;
    const note = document.createElement("i");
    try {
      const { frames } = await post("api/withdraw", { video_id, object_id, reviewer: $("reviewer").value.trim() });
      note.textContent = `taken back (${frames.length}): the next run labels it anew`;
      button.replaceWith(note);
      ($("brokenlist").querySelector("button") ?? $("brokenclose")).focus();
      this.changed();
    } catch (error) {
      button.disabled = false;
      button.after(note);
      note.className = "bad";
      note.textContent = error.message;
    }
  }
}
