// The transcript: as a list on the page, and as text, subtitles or JSON to keep.

import { textAt } from "./conversation.js";
import { clockText, element } from "./ui.js";

const whoOf = (item, avatarName) => (item.role === "user" ? "You" : item.who || avatarName);

/** Draws `items` into `list`, keeping the elements of items that did not change. */
export function drawTranscript(list, items, avatarName) {
  const now = performance.now();
  const elements = items
    .map((item) => ({ ...item, text: textAt(item, now) }))
    .filter((item) => item.text)
    .map((item, index) => {
      const old = list.children[index];
      const look = JSON.stringify([item.id, item.role, item.text, item.state]);
      return old?.dataset.look === look ? old : drawItem(item, look, avatarName);
    });
  elements.forEach((each, index) => {
    if (list.children[index] !== each) list.children[index]?.replaceWith(each) ?? list.append(each);
  });
  while (list.children.length > elements.length) list.lastElementChild.remove();
}

function drawItem(item, look, avatarName) {
  const drawn = element("li", { className: `item ${item.role} ${item.state}` });
  drawn.dataset.look = look;
  const who = element("span", { className: "who", textContent: whoOf(item, avatarName) });
  drawn.append(who, element("p", { textContent: item.text }));
  if (item.state === "interrupted") {
    drawn.append(element("span", { className: "mark", textContent: "interrupted" }));
  }
  return drawn;
}

const keptOf = (items) => items.filter((item) => item.state !== "pending" && item.text);

export function asText(items, avatarName) {
  const lines = keptOf(items).map((item) => {
    const at = item.startMs === null ? "" : `[${clockText(item.startMs / 1000)}] `;
    const cut = item.state === "interrupted" ? " (interrupted)" : "";
    return `${at}${whoOf(item, avatarName)}: ${item.text}${cut}`;
  });
  return `${lines.join("\n")}\n`;
}

/** WebVTT; what has no time is left out. An answer is one cue a sentence. */
export function asSubtitles(items, avatarName) {
  const cues = keptOf(items)
    .filter((item) => item.startMs !== null)
    .flatMap((item) => cuesOf(item).map((cue) => ({ ...cue, who: whoOf(item, avatarName) })))
    .sort((one, other) => one.startMs - other.startMs)
    .map(({ startMs, endMs, who, text }) => {
      const times = `${stampOf(startMs)} --> ${stampOf(Math.max(endMs, startMs + 1000))}`;
      return `${times}\n<v ${escapeCue(who)}>${escapeCue(text)}`;
    });
  return `${["WEBVTT", ...cues].join("\n\n")}\n`;
}

function cuesOf(item) {
  if (!item.sentences || item.state === "interrupted") return [item];
  return item.sentences;
}

const escapeCue = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function stampOf(ms) {
  const whole = Math.max(0, Math.round(ms));
  const two = (value) => String(value).padStart(2, "0");
  const seconds = Math.floor(whole / 1000);
  return (
    `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:` +
    `${two(seconds % 60)}.${String(whole % 1000).padStart(3, "0")}`
  );
}

export function asJson(items, about) {
  const plain = keptOf(items).map(({ role, text, startMs, endMs, state }) => ({
    role,
    text,
    start_ms: startMs,
    end_ms: endMs,
    interrupted: state === "interrupted",
  }));
  return `${JSON.stringify({ ...about, items: plain }, null, 2)}\n`;
}

const KINDS = {
  txt: { type: "text/plain", make: asText },
  vtt: { type: "text/vtt", make: asSubtitles },
  json: {
    type: "application/json",
    make: (items, avatar) => asJson(items, { avatar, clock: "milliseconds since the call began" }),
  },
};

/** Saves the transcript as a file of this kind: txt, vtt or json. */
export function download(kind, items, avatarName) {
  const { type, make } = KINDS[kind];
  const url = URL.createObjectURL(new Blob([make(items, avatarName)], { type }));
  const day = new Date().toISOString().slice(0, 10);
  element("a", { href: url, download: `call-${avatarName.toLowerCase()}-${day}.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
