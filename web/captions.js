// Captions on the picture: the avatar's words as they are heard, and the caller's as understood.

import { element, setText, show } from "./ui.js";

const PAGE_CHARACTERS = 84; // two lines of subtitles
const STAYS_MS = 4000; // after the last word
const STAYS_CUT_MS = 1500;

export class Captions {
  #heard;
  #said;
  #live;
  #isOn = true;
  #pages = []; // of the answer that sounds: [[{text, atMs}]]
  #drawn = null; // the page on the picture
  #leavesAt = Infinity;
  #timer = 0;
  #heardTimer = 0;

  #sounded;

  /**
   * Elements: `heard` and `said` on the picture, `live` for screen readers. `sounded` is called
   * whenever another word is heard, with captions on or off.
   */
  constructor({ heard, said, live, sounded }) {
    this.#heard = heard;
    this.#said = said;
    this.#live = live;
    this.#sounded = sounded;
  }

  set isOn(isOn) {
    this.#isOn = isOn;
    if (isOn) return;
    this.#drawn = null;
    show(this.#said, false);
    this.hear("");
    setText(this.#live, "");
  }

  /** A sentence begins: `words` are [{text, atMs}], when each is heard by performance.now(). */
  say(sentence, words) {
    if (this.#leavesAt < Infinity) this.#pages = []; // those were another answer's
    this.#leavesAt = Infinity;
    this.#pages.push(...pagesOf(words));
    if (this.#isOn) setText(this.#live, sentence);
    this.hear("");
    this.#advance();
  }

  /** The answer has ended: its last words stay for a moment. */
  finish() {
    const last = this.#pages.at(-1)?.at(-1).atMs ?? 0;
    this.#leavesAt = Math.max(performance.now(), last) + STAYS_MS;
    this.#advance();
  }

  /** The answer was cut: nothing more is heard of it. */
  cut() {
    this.#pages = [];
    this.#drawn = null;
    for (const word of this.#said.querySelectorAll(".to-come")) word.remove();
    this.#leavesAt = performance.now() + STAYS_CUT_MS;
    this.#advance();
  }

  /** What is understood of the caller so far; `isFinal` lets it go after a moment. */
  hear(text, isFinal = false) {
    clearTimeout(this.#heardTimer);
    const isShown = this.#isOn && text !== "";
    if (isShown) setText(this.#heard, text);
    show(this.#heard, isShown);
    if (isShown && isFinal) {
      setText(this.#live, `You: ${text}`);
      this.#heardTimer = setTimeout(() => show(this.#heard, false), STAYS_MS);
    }
  }

  clear() {
    clearTimeout(this.#timer);
    this.#pages = [];
    this.#drawn = null;
    this.#leavesAt = Infinity;
    show(this.#said, false);
    this.hear("");
    setText(this.#live, "");
  }

  #advance() {
    clearTimeout(this.#timer);
    const now = performance.now();
    if (now >= this.#leavesAt) {
      show(this.#said, false);
      return;
    }
    const page = this.#pages.findLast((each) => each[0].atMs <= now);
    if (page && this.#isOn) this.#draw(page, now);
    this.#sounded();
    const next = this.#pages.flat().find((word) => word.atMs > now)?.atMs ?? Infinity;
    const wakesAt = Math.min(next, this.#leavesAt);
    if (wakesAt < Infinity) {
      this.#timer = setTimeout(() => this.#advance(), Math.max(1, wakesAt - now));
    }
  }

  /** All words have their place from the start, so that lines do not jump as words appear. */
  #draw(page, now) {
    if (page !== this.#drawn) {
      this.#drawn = page;
      this.#said.replaceChildren(
        ...page.map(({ text }) => element("span", { textContent: `${text} ` })),
      );
      show(this.#said);
    }
    [...this.#said.children].forEach((word, index) => {
      word.classList.toggle("to-come", page[index].atMs > now);
    });
  }
}

/** Cuts a sentence into pages of at most about two lines, as evenly as its words allow. */
function pagesOf(words) {
  const length = words.reduce((sum, { text }) => sum + text.length + 1, 0);
  const pageLength = length / Math.ceil(length / PAGE_CHARACTERS);
  const pages = [[]];
  let filled = 0;
  for (const word of words) {
    if (filled >= pageLength * pages.length) pages.push([]);
    pages.at(-1).push(word);
    filled += word.text.length + 1;
  }
  return pages;
}
