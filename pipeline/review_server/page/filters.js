// Which tracks are listed, in which order: the fields above the list. The browser keeps them for the next visit.

import { inWords } from "./list.js";

const ORDERS = [
  ["value", "most to mend"], ["doubt", "most doubtful"], ["queue", "as in the queue"], ["video", "by video"],
];
const VERDICTS = [
  ["", "any verdict"], ["open", "no verdict"], ["done", "with a verdict"], ["accept", "accepted"], ["reject", "rejected"],
  ["fix", "fix"], ["skip", "skipped"],
];
const NONE = "\u0000none"; // the option of tracks without a category

export class Filters extends EventTarget {
  /** Event `change` comes when something else is chosen. */
  constructor(fields, key) {
    super();
    this.fields = fields; // text, sort, verdict, reason, category
    this.key = `maskmill.${key}.filters`;
    for (const [name, field] of Object.entries(fields)) {
      field.addEventListener(name === "text" ? "input" : "change", () => {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.#changed(), name === "text" ? 200 : 0);
        if (name !== "text") field.blur();
      });
    }
  }

  /** Fill the fields with what there is, and keep what is chosen. */
  fill(session) {
    const { sort, verdict, reason, category } = this.fields;
    const orders = ORDERS.map(([value, words]) => [value, value === "queue" ? `${words} (${session.num_queued})` : words]);
    options(sort, orders);
    options(verdict, VERDICTS.map(([value, words]) => [value, value in session.counts ? `${words} (${session.counts[value]})` : words]));
    options(reason, [["", "any reason"], ...Object.entries(session.reasons).map(([code, num]) => [code, `${inWords(code)} (${num})`])]);
    options(category, [["", "any category"], ...session.categories.map(({ name, num }) => [name ?? NONE, `${name ?? "no category"} (${num})`])]);
    if (!this.isBegun) {
      this.isBegun = true;
      this.#recall(session);
    }
  }

  /** The query of the list. */
  get query() {
    const { text, sort, verdict, reason, category } = this.fields;
    return {
      sort: sort.value, verdict: verdict.value || null, reason: reason.value || null, text: text.value.trim() || null,
      category: category.value === "" ? null : category.value === NONE ? "" : category.value,
    };
  }

  /** Whether anything but the order is chosen. */
  get isNarrow() {
    const { text, verdict, reason, category } = this.fields;
    return Boolean(text.value || verdict.value || reason.value || category.value);
  }

  widen() {
    const { text, verdict, reason, category } = this.fields;
    for (const field of [text, verdict, reason, category]) field.value = "";
    this.#changed();
  }

  #changed() {
    const values = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.value]));
    try {
      localStorage.setItem(this.key, JSON.stringify(values));
    } catch { /* full or forbidden: the next visit begins anew */ }
    this.dispatchEvent(new Event("change"));
  }

  #recall(session) {
    let values = {};
    try {
      values = JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch { /* nothing is kept */ }
    if (session.has_queue && !("sort" in values)) values.sort = "queue";
    for (const [name, value] of Object.entries(values)) {
      const field = this.fields[name];
      if (!field) continue;
      if (field.tagName !== "SELECT" || [...field.options].some(one => one.value === value)) field.value = value;
    }
  }
}

function options(select, pairs) {
  const { value } = select;
  select.replaceChildren(...pairs.map(([name, words]) => new Option(words, name)));
  if (pairs.some(([name]) => name === value)) select.value = value;
}
