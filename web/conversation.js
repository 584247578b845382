// The conversation as the server's events tell it: who said what, when, and what was heard of it.

/**
 * An item: {id, role: user | assistant, text, startMs, endMs, state}, times on the call's clock or
 * null; `state` is partial (still changing), said, interrupted, or pending (typed, not confirmed).
 * An answer also has `who`, the name of the character, and `sentences`: [{text, startMs, endMs, words: [{text, atMs}]}], each from where
 * it began to sound; `atMs` is when a word is heard on this page's own clock, performance.now().
 */
export class Conversation {
  #items;
  #changed;
  #speech = null; // {startMs, endMs} of the caller's present turn
  #made = 0;

  /** `name` is the character's who answers; another one may take its place. */
  constructor(items = [], changed = () => {}, name = "") {
    this.name = name;
    this.#items = items.filter((item) => item.state !== "partial" && item.state !== "pending");
    this.#changed = changed;
  }

  get items() {
    return this.#items;
  }

  /** A message that was typed, until the server confirms it. */
  addTyped(text) {
    this.#add("user", text, null, "pending");
  }

  /** Takes in an event; a sentence in it is heard from `heardAtMs` on. */
  receive(event, heardAtMs) {
    const handler = HANDLERS[event.type];
    if (!handler) return;
    handler(this, event, heardAtMs);
    this.#changed(this.#items);
  }

  /** What the server remembers is the conversation; what this page knows besides is when. */
  restore(items) {
    const known = [...this.#items];
    this.#items = items.map(({ role, text }) => {
      const index = known.findIndex((item) => item.role === role && item.text === text);
      if (index >= 0) return known.splice(0, index + 1)[index];
      return this.#make(role, text, null, "said");
    });
  }

  speechStarted(startMs) {
    this.#speech = { startMs, endMs: null };
  }

  speechStopped(endMs) {
    if (this.#speech) this.#speech.endMs = endMs;
  }

  speechIgnored() {
    this.#items = this.#items.filter((item) => !(item.role === "user" && item.state === "partial"));
    this.#speech = null;
  }

  heard(id, text, state, atMs) {
    let item = this.#find(id);
    if (!item) {
      if (!text) return;
      item = this.#add("user", text, id, state);
    }
    Object.assign(item, { text, state, startMs: this.#speech?.startMs ?? item.startMs ?? atMs });
    if (state !== "said") return;
    item.endMs = this.#speech?.endMs ?? atMs;
    this.#speech = null;
    if (!text) this.#items = this.#items.filter((each) => each !== item);
  }

  confirmed(id, text, atMs) {
    const item =
      this.#find(id) ??
      this.#items.find((each) => each.state === "pending" && each.text === text) ??
      this.#add("user", text, id, "said");
    Object.assign(item, { id, text, state: "said", startMs: atMs, endMs: atMs });
  }

  sentence(id, text, words, atMs, heardAtMs) {
    const item = this.#find(id) ?? this.#add("assistant", "", id, "partial", { sentences: [] });
    const endMs = atMs + (words.at(-1)?.end_ms ?? 0);
    const known = words.length > 0 ? words : [{ text, start_ms: 0 }];
    const timed = known.map((word) => ({ text: word.text, atMs: heardAtMs + word.start_ms }));
    item.sentences.push({ text, startMs: atMs, endMs, words: timed });
    item.text = item.sentences.map((sentence) => sentence.text).join(" ");
    item.startMs ??= atMs;
    item.endMs = endMs;
  }

  answered(id, text) {
    const item = this.#find(id);
    if (item?.state !== "partial") return;
    item.state = "said";
    if (text) item.text = text;
  }

  /** The answer was cut: what was heard of it is what was said. */
  truncated(id, text, atMs) {
    const item = this.#find(id);
    if (!item) return;
    Object.assign(item, { text, state: "interrupted", endMs: atMs });
    if (!text) this.#items = this.#items.filter((each) => each !== item);
  }

  #find(id) {
    return id ? this.#items.find((item) => item.id === id) : undefined;
  }

  #make(role, text, id, state, more = {}) {
    this.#made += 1;
    const who = role === "assistant" ? this.name : "";
    return { id: id ?? `local_${this.#made}`, role, who, text, startMs: null, endMs: null, state, ...more };
  }

  #add(...what) {
    const item = this.#make(...what);
    this.#items = [...this.#items, item];
    return item;
  }
}

/** What of an item is known to be heard at the instant `nowMs`: nothing is shown before its sound. */
export function textAt(item, nowMs) {
  if (item.state !== "partial" || !item.sentences) return item.text;
  const words = item.sentences.flatMap((sentence) => sentence.words);
  return words
    .filter((word) => word.atMs <= nowMs)
    .map((word) => word.text)
    .join(" ");
}

const HANDLERS = {
  "session.created": (talk, { items = [] }) => talk.restore(items),
  "input_audio_buffer.speech_started": (talk, event) => talk.speechStarted(event.audio_start_ms ?? event.t_ms),
  "input_audio_buffer.speech_stopped": (talk, event) => talk.speechStopped(event.audio_end_ms ?? event.t_ms),
  "avatar.speech_ignored": (talk) => talk.speechIgnored(),
  "conversation.item.input_audio_transcription.delta": (talk, event) =>
    talk.heard(event.item_id, event.transcript, "partial", event.t_ms),
  "conversation.item.input_audio_transcription.completed": (talk, event) =>
    talk.heard(event.item_id, event.transcript, "said", event.t_ms),
  "conversation.item.created": (talk, { item, t_ms }) =>
    talk.confirmed(item.id, item.content.map((part) => part.text ?? "").join(" "), t_ms),
  "response.output_audio_transcript.delta": (talk, event, heardAtMs) =>
    talk.sentence(event.response_id, event.delta, event.words ?? [], event.t_ms, heardAtMs),
  "response.output_audio_transcript.done": (talk, event) =>
    talk.answered(event.response_id, event.transcript),
  "avatar.playback.finished": (talk, event) => {
    if (event.interrupted) talk.truncated(event.response_id, event.text_heard, event.t_ms);
  },
  "response.done": (talk, { response }) => {
    if (response.status === "completed") talk.answered(response.id, "");
  },
};
