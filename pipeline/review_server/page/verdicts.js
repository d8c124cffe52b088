// Verdicts of this page: said, saved, refused, taken back.

import { post } from "./api.js";
import { keyOf } from "./list.js";
import { $, tell, trouble } from "./shell.js";

const reviewer = () => $("reviewer").value.trim();
const named = row => `#${row.object_id} of ${row.video_id.slice(-60)}`;

const KEPT = "It keeps its masks: the next run does not take in what was corrected. u takes this back.";

/** What an undo has done. */
function takenBack({ frames, current }) {
  const what = frames.length ? `: what you had saved of frame ${frames.join(", ")}. The next run labels the object without it.` : "";
  const now = current ? `${what ? " " : ": "}${current.verdict} of ${current.reviewer} counts again.` : what ? "" : ".";
  return `Taken back${what}${now}`;
}

export class Verdicts {
  /** `page` has `row`, `player`, `watch`, `drafts`, `draft()`, `refill(row, draft)`, `show(row, said)`, `open(row)`, … */
  constructor(page, saving) {
    Object.assign(this, { page, saving });
    this.undoable = [];
    saving.addEventListener("saved", ({ detail }) => this.#saved(detail));
    saving.addEventListener("refused", ({ detail }) => this.#refused(detail));
    saving.addEventListener("state", () => this.#showState());
  }

  /** Say something of the track that is shown, and open the next one. */
  say(verdict) {
    const { page } = this, { row, player } = page;
    if (!row || !player.current) return;
    if (keyOf(player.track) !== keyOf(row)) { // nobody judges what nobody has seen
      tell("This track is not shown yet.");
      return;
    }
    if (!reviewer()) {
      tell("Who are you? Give your name at the top right first.", "bad");
      $("reviewer").focus();
      return;
    }
    const draft = page.draft();
    const body = {
      video_id: row.video_id, object_id: row.object_id, verdict, reviewer: reviewer(),
      labeled_at: player.current.labeled_at, seconds: page.watch.seconds, frame_index: player.current.frame_index, ...draft,
    };
    const isAgainstFix = ["accept", "reject"].includes(verdict) && this.#isFixed(row);
    const { id } = this.saving.say(body);
    this.undoable.push({ row, id, path: null, before: row.said, draft });
    page.show(row, { verdict, reviewer: body.reviewer, comment: draft.comment ?? null, category: draft.category ?? null });
    page.drafts.set(row, {});
    $("comment").value = $("named").value = "";
    if (isAgainstFix) tell(`${verdict}: ${named(row)}. ${KEPT}`, "bad");
    else tell(`${verdict}: ${named(row)}`);
    page.openNext();
  }

  /** Whether the track was corrected as it is labeled now: here a moment ago, or by anybody. */
  #isFixed(row) {
    const isHere = this.undoable.some(one => one.fix && keyOf(one.row) === keyOf(row));
    return isHere || (row.said?.verdict === "fix" && !row.said.is_stale);
  }

  /** Fix mode has saved something of the track that is shown: `u` takes it back after the mode is left. */
  fixed({ object_id, is_added }, { path }) {
    const { row } = this.page;
    if (!is_added && row?.object_id === object_id) this.undoable.push({ row, fix: path });
  }

  /** Fix mode has taken it back itself. */
  unfixed({ path }) { this.undoable = this.undoable.filter(one => one.fix !== path); }

  /** Take back what was said last on this page, or else what this reviewer said last of the track that is shown. */
  async undo() {
    const { page } = this, last = this.undoable.pop() ?? (page.row && { row: page.row, fix: true });
    if (!last) {
      tell("Nothing to take back.");
      return;
    }
    if (last.fix) {
      await this.#withdraw(last);
      return;
    }
    if (!last.path && this.saving.drop(last.id)) { // the server has not heard of it
      page.show(last.row, last.before);
      page.refill(last.row, last.draft);
      await page.open(last.row);
      return;
    }
    if (!last.path) {
      await new Promise(resolve => { last.wanted = resolve; this.undoable.push(last); });
      this.#forget(last);
    }
    if (last.path) await this.#withdraw(last);
  }

  async #withdraw(last) {
    const { video_id, object_id } = last.row;
    try {
      const told = await post("api/undo", { video_id, object_id, path: last.path, reviewer: reviewer() });
      tell(takenBack(told));
      this.page.show(last.row, told.current);
      const draft = last.draft ?? told.taken;
      if (draft) this.page.refill(last.row, draft);
      await this.page.open({ ...last.row, said: told.current });
      this.page.poll();
    } catch (error) {
      if (error.status !== 409 && last.fix !== true) this.undoable.push(last);
      tell(error.message, "bad");
    }
  }

  #saved({ verdict, told }) {
    const one = this.undoable.find(entry => entry.id === verdict.id);
    if (one) one.path = told.path;
    one?.wanted?.();
    if (told.is_stale) {
      tell(`The video of #${verdict.object_id} was labeled again meanwhile: your verdict is of the earlier masks. Look again.`, "bad");
    } else if (told.replaced && told.replaced.reviewer !== verdict.reviewer) {
      tell(`${told.replaced.reviewer} had said ${told.replaced.verdict} of ${named(verdict)}: yours counts now; u takes it back.`);
    }
    this.page.poll();
  }

  /** The server will never take it: nothing is hidden, and the words come back as a draft. */
  #refused({ verdict, error }) {
    const one = this.undoable.find(entry => entry.id === verdict.id);
    if (one) this.#forget(one);
    one?.wanted?.();
    this.page.refill(verdict, verdict);
    tell(`${verdict.verdict}: ${named(verdict)}: ${error.message}`, "bad", true);
    if (one) this.page.show(one.row, one.before);
  }

  #forget(entry) { this.undoable = this.undoable.filter(one => one !== entry); }

  #showState() {
    const field = $("saving"), { num, fault, hasSaved } = this.saving;
    field.className = `saving ${fault && num ? "bad" : !num && hasSaved ? "good" : ""}`;
    field.textContent = num ? (fault ? `${num} not saved yet` : "saving …") : hasSaved ? "saved" : "";
    field.title = fault;
    const what = num === 1 ? "A verdict is" : `${num} verdicts are`;
    trouble(fault && num ? `${what} not saved yet, and sent again and again: ${fault}` : "");
  }
}
