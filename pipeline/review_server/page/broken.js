// Objects that failed, or of which the job has something to say, and the way to take their corrections back.

import { get, post } from "./api.js";
import { $, tell } from "./shell.js";

export class Broken {
  /** `changed()` is called after corrections were taken back. */
  constructor(changed) {
    this.changed = changed;
    $("brokenclose").addEventListener("click", () => $("broken").close());
  }

  async show() {
    try {
      const { total, rows } = await get("api/broken");
      $("brokenlead").textContent =
        `They failed, or the last run could not do what was corrected. ${total > rows.length ? `The first ${rows.length} of ${total.toLocaleString("en")}:` : ""}`;
      $("brokenlist").replaceChildren(...rows.map(row => this.#item(row)));
      if (!$("broken").open) $("broken").showModal();
    } catch (error) {
      tell(error.message, "bad");
    }
  }

  #item(row) {
    const item = document.createElement("li"), name = document.createElement("b"), why = document.createElement("span");
    name.textContent = `#${row.object_id} of ${row.video_id}${row.status === "failed" ? " · failed" : ""}`;
    why.textContent = row.message || "no message";
    item.append(name, why);
    if (row.corrected_frames.length) {
      const button = document.createElement("button");
      button.textContent = `withdraw its corrections (${row.corrected_frames.length})`;
      button.title = `frames ${row.corrected_frames.join(", ")}`;
      button.addEventListener("click", () => this.#withdraw(row, button));
      item.append(button);
    } else {
      const none = document.createElement("i");
      none.textContent = "no corrections";
      item.append(none);
    }
    return item;
  }

  async #withdraw({ video_id, object_id }, button) {
    button.disabled = true;
    const note = document.createElement("i");
    try {
      const { frames } = await post("api/withdraw", { video_id, object_id, reviewer: $("reviewer").value.trim() });
      note.textContent = `taken back (${frames.length}): the next run labels it anew`;
      button.replaceWith(note);
      this.changed();
    } catch (error) {
      button.disabled = false;
      button.after(note);
      note.className = "bad";
      note.textContent = error.message;
    }
  }
}
