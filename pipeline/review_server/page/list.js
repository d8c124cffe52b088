// The list of tracks: only rows that can be seen are in the page, and pages of 100 are read when they come into view.

import { get, getBlob } from "./api.js";

const HEIGHT = 88, PAGE = 100, MOST_PAGES = 40, MOST_STRIPS = 400, STRIPS_AT_ONCE = 3;
const TAIL = 14; // letters of an id that are always shown
const MOST_ROWS = 180_000; // a browser draws nothing below 16 million pixels

export const keyOf = row => `${row.object_id} ${row.video_id}`;

/** Small pictures, a few at a time, of the rows that are in view. */
class Strips {
  constructor() {
    this.urls = new Map();
    this.waiting = [];
    this.num = 0;
  }

  /** Fill an element with the strip of a row, as soon as others are done. */
  show(element, row) {
    const key = `${keyOf(row)} ${row.video_at}`;
    if (element.dataset.strip === key) return;
    element.dataset.strip = key;
    element.textContent = "";
    element.removeAttribute("title");
    const known = this.urls.get(key);
    if (known) {
      this.#fill(element, key, known);
      return;
    }
    this.waiting.push({ element, key, row });
    this.#next();
  }

  #next() {
    while (this.num < STRIPS_AT_ONCE && this.waiting.length) {
      const { element, key, row } = this.waiting.pop(); // the newest: older ones may have been scrolled away
      if (element.dataset.strip !== key || !element.isConnected) continue;
      this.num++;
      const query = { video: row.video_id, object: row.object_id, of: row.video_at };
      getBlob("api/filmstrip", query)
        .then(blob => ({ url: URL.createObjectURL(blob) }), error => ({ why: error.message }))
        .then(found => {
          this.num--;
          if (found.url) this.#keep(key, found);
          this.#fill(element, key, found);
          this.#next();
        });
    }
  }

  #keep(key, found) {
    this.urls.set(key, found);
    if (this.urls.size > MOST_STRIPS) {
      const [oldest, { url }] = this.urls.entries().next().value;
      URL.revokeObjectURL(url);
      this.urls.delete(oldest);
    }
  }

  #fill(element, key, { url, why }) {
    if (element.dataset.strip !== key) return;
    if (url) {
      const image = document.createElement("img");
      image.alt = "";
      image.src = url;
      element.replaceChildren(image);
    } else {
      element.textContent = "no picture";
      element.title = why;
    }
  }
}

export class TrackList extends EventTarget {
  /** `chosen()` gives the query of filters and order. Event `pick` has a row. */
  constructor({ rows, spacer, nothing }, chosen) {
    super();
    Object.assign(this, { box: rows, spacer, nothing, chosen });
    this.strips = new Strips();
    this.elements = new Map();
    this.pages = new Map();
    this.total = 0;
    this.current = null;
    this.reading = 0;
    this.box.addEventListener("scroll", () => this.#render());
    new ResizeObserver(() => this.#render()).observe(this.box);
  }

  /** Read the list anew. `keep` stays where it is scrolled to. */
  async reload(keep = false) {
    const reading = ++this.reading;
    const first = keep ? Math.floor(this.box.scrollTop / HEIGHT / PAGE) : 0;
    const told = await get("api/tracks", { ...this.chosen(), offset: first * PAGE, limit: PAGE });
    if (reading !== this.reading) return null;
    this.pages.clear();
    this.pages.set(first, told.rows);
    this.total = told.total;
    this.spacer.style.height = `${Math.min(this.total, MOST_ROWS) * HEIGHT}px`;
    if (!keep) this.box.scrollTop = 0;
    this.nothing.hidden = this.total > 0;
    this.#render(true);
    return told;
  }

  /** How many of the tracks can be scrolled to. */
  get reach() { return Math.min(this.total, MOST_ROWS); }

  /** The row at a number, if its page is here. */
  at(number) { return this.pages.get(Math.floor(number / PAGE))?.[number % PAGE]; }

  /** The number of a row in the pages that are here, or -1. */
  numberOf(row) {
    const key = keyOf(row);
    for (const [page, rows] of this.pages) {
      if (!Array.isArray(rows)) continue;
      const found = rows.findIndex(one => keyOf(one) === key);
      if (found >= 0) return page * PAGE + found;
    }
    return -1;
  }

  /** Rows of tracks that have changed take the place of those that are here. */
  update(rows) {
    for (const row of rows) {
      const number = this.numberOf(row);
      if (number >= 0) this.pages.get(Math.floor(number / PAGE))[number % PAGE] = row;
    }
    this.#render(true);
  }

  /** Mark a row as the one that is shown, and scroll to it if it is out of view. */
  select(row) {
    this.current = row;
    const number = this.numberOf(row);
    if (number >= 0) this.#scrollTo(number);
    else this.#asked(row).then(found => { if (found >= 0 && this.current === row) this.#scrollTo(found); });
    this.#render(true);
  }

  /** The row so many places from the one that is shown; reads its page first. */
  async neighbor(distance) {
    const { current } = this, known = current ? this.numberOf(current) : -1;
    const number = current && known < 0 ? await this.#asked(current) : known;
    const wanted = number < 0 ? 0 : number + distance;
    if (wanted < 0 || wanted >= this.total) return null;
    await this.#page(Math.floor(wanted / PAGE));
    return this.at(wanted) ?? null;
  }

  /** The number of a row whose page is not here, as the server says; -1 if it is none of those that are chosen. */
  async #asked(row) {
    const query = { ...this.chosen(), video: row.video_id, object: row.object_id };
    const { rank } = await get("api/rank", query).catch(() => ({ rank: null })); // the poll tells
    return rank ?? -1;
  }

  #scrollTo(number) {
    const top = number * HEIGHT, height = this.box.clientHeight;
    if (top < this.box.scrollTop || top + HEIGHT > this.box.scrollTop + height) {
      this.box.scrollTop = Math.max(0, top - height / 3);
    }
  }

  #page(number) {
    const found = this.pages.get(number);
    if (found) return Promise.resolve(found);
    const reading = this.reading;
    const asked = get("api/tracks", { ...this.chosen(), offset: number * PAGE, limit: PAGE }).then(told => {
      if (reading !== this.reading) return;
      this.pages.delete(number);
      this.pages.set(number, told.rows);
      if (this.pages.size > MOST_PAGES) this.pages.delete(this.pages.keys().next().value);
      this.#render(true);
    }, error => {
      this.pages.delete(number);
      this.dispatchEvent(new CustomEvent("fault", { detail: error }));
    });
    this.pages.set(number, asked);
    return asked;
  }

  #render(anew = false) {
    const count = Math.min(this.total, MOST_ROWS);
    const first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - 2);
    const last = Math.min(count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / HEIGHT) + 2);
    for (const [number, element] of this.elements) {
      if (number < first || number >= last) {
        element.remove();
        this.elements.delete(number);
      }
    }
    for (let number = first; number < last; number++) {
      const rows = this.pages.get(Math.floor(number / PAGE));
      if (!rows) this.#soon(Math.floor(number / PAGE));
      const row = Array.isArray(rows) ? rows[number % PAGE] : null;
      let element = this.elements.get(number);
      if (!element) {
        element = makeRow();
        element.id = `row-${number}`;
        element.setAttribute("aria-posinset", String(number + 1));
        element.style.transform = `translateY(${number * HEIGHT}px)`;
        element.addEventListener("click", () => {
          if (element.row) this.dispatchEvent(new CustomEvent("pick", { detail: element.row }));
        });
        this.elements.set(number, element);
        this.box.append(element);
      } else if (!anew && element.row === row) {
        continue;
      }
      const isCurrent = this.current && row && keyOf(row) === keyOf(this.current);
      fillRow(element, row, isCurrent);
      element.setAttribute("aria-setsize", String(this.total));
      if (isCurrent) this.box.setAttribute("aria-activedescendant", element.id);
      if (row) this.strips.show(element.parts.strip, row);
    }
  }

  /** Pages that are only scrolled past are not read. */
  #soon(page) {
    this.wanted ??= new Set();
    this.wanted.add(page);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const first = Math.floor(this.box.scrollTop / HEIGHT), last = first + Math.ceil(this.box.clientHeight / HEIGHT);
      for (const one of this.wanted) {
        if ((one + 1) * PAGE > first - 3 && one * PAGE < last + 3) this.#page(one);
      }
      this.wanted.clear();
    }, 60);
  }
}

function part(name, parent, tag = "span") {
  const element = document.createElement(tag);
  element.className = name;
  parent.append(element);
  return element;
}

function makeRow() {
  const element = document.createElement("div");
  element.className = "row";
  element.setAttribute("role", "option");
  const top = part("top", element, "div"), bottom = part("bottom", element, "div");
  const parts = { id: part("id", top), category: part("category", top), warn: part("warn", top), object: part("object", top) };
  parts.strip = part("strip", bottom, "div");
  const words = part("words", bottom, "div");
  Object.assign(parts, { doubt: part("doubt", words, "div"), why: part("why", words, "div"), said: part("said", words, "div") });
  element.parts = parts;
  return element;
}

/** The end of a long id tells more than its begin. */
export const shortened = (id, most = 60) => (id.length > most ? `…${id.slice(-most + 1)}` : id);

/** A code in words. */
export const inWords = code => code.replaceAll("_", " ");

function fillRow(element, row, isCurrent) {
  element.row = row;
  element.classList.toggle("current", Boolean(isCurrent));
  element.setAttribute("aria-selected", String(Boolean(isCurrent)));
  const { id, category, warn, object, doubt, why, said } = element.parts;
  if (!row) {
    for (const one of [id, category, warn, object, doubt, why, said]) one.textContent = "";
    id.textContent = "…";
    return;
  }
  // Of a long id the end tells videos apart: the middle is left out.
  const shown = shortened(row.video_id);
  id.textContent = "";
  part("head", id).textContent = shown.slice(0, -TAIL);
  part("tail", id).textContent = shown.slice(-TAIL);
  id.title = row.video_id;
  category.textContent = row.said?.category ?? row.category ?? "";
  category.title = category.textContent;
  warn.textContent = row.num_failed ? `${row.num_failed} failed` : row.message ? "message" : "";
  warn.title = row.message || (row.num_failed ? "Objects of this video have failed ( o )." : "");
  object.textContent = `#${row.object_id}`;
  doubt.textContent = "";
  if (row.doubt !== null) {
    const bar = part("bar", doubt), filled = part("", bar, "i");
    filled.style.width = `${Math.round(row.doubt * 100)}%`;
    doubt.append(row.doubt.toFixed(2));
  } else {
    doubt.append(row.num_visible ? "not measured" : "never visible");
  }
  doubt.title = `doubt, and on how many of its frames it is visible`;
  doubt.append(` · ${row.num_visible}/${row.num_masks}`);
  if (row.is_audit) part("lot", doubt).textContent = " · drawn by lot";
  why.textContent = row.reasons.map(reason => inWords(reason.code)).join(", ");
  why.title = row.reasons.map(reason => reason.sentence).join("\n");
  fillSaid(said, row.said);
}

function fillSaid(element, said) {
  element.className = `said ${said ? (said.is_stale ? "stale" : said.verdict) : ""}`;
  const stale = said?.is_stale ? " (of earlier labels)" : "";
  element.textContent = said ? `${said.verdict} · ${said.reviewer}${stale}${said.comment ? ` · “${said.comment}”` : ""}` : "";
  element.title = element.textContent;
}
