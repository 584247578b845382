// The connection on the page: the chip with its reason, the figures behind it, the debug overlay.

import { Steady, factsOf, judge, readingOf } from "./stats.js";
import { byId, element, setText, show } from "./ui.js";

const WORDS = { wait: "…", good: "Good", fair: "Fair", poor: "Poor" };
const USUAL_BUFFER_MS = 60; // of sound, until the browser has measured it
const FPS = 25;

export class Quality {
  reading = null;
  server = null; // the last avatar.quality
  #report = null;
  #steady = new Steady();

  constructor() {
    byId("debug-toggle").addEventListener("click", () => this.toggleDebug());
  }

  begin() {
    this.reading = this.server = this.#report = null;
    this.#steady = new Steady();
    this.#show({ level: "wait", reason: "" });
  }

  lost() {
    this.#report = null;
    this.#show({ level: "poor", reason: "the connection is lost" });
  }

  /** How long sound waits here before it is heard. */
  get bufferMs() {
    return this.reading?.jitterBufferMs ?? USUAL_BUFFER_MS;
  }

  /** There and back, and the jitter buffer; null before anything was measured. */
  get networkMs() {
    const { rttMs = null, jitterBufferMs = null } = this.reading ?? {};
    return rttMs === null && jitterBufferMs === null ? null : (rttMs ?? 0) + (jitterBufferMs ?? 0);
  }

  async read(call, state) {
    const report = await call.stats();
    if (call.phase !== "live") return;
    this.reading = readingOf(report, this.#report);
    this.#report = report;
    const fps = call.session.profile?.fps ?? FPS;
    this.#show(this.#steady.next(judge(this.reading, this.server, fps)));
    const facts = factsOf(this.reading, this.server);
    byId("quality-facts").replaceChildren(
      ...facts.flatMap(([name, text]) => [
        element("dt", { textContent: name }),
        element("dd", { textContent: text }),
      ]),
    );
    const more = [
      ["Heartbeat", `${Math.round(call.heartbeatMs ?? 0)} ms`],
      ["Freezes", `${this.reading.freezes} in the last second`],
      ["Resumed", `${call.resumes} times`],
      ["State", state],
    ];
    setText("debug", [...facts, ...more].map(([name, text]) => name.padEnd(20) + text).join("\n"));
  }

  toggleDebug() {
    const isShown = byId("debug").hidden;
    show("debug", isShown);
    byId("debug-toggle").setAttribute("aria-pressed", String(isShown));
  }

  #show({ level, reason }) {
    byId("quality-chip").dataset.level = level;
    setText("quality-text", [WORDS[level], reason].filter(Boolean).join(": "));
    setText("quality-reason", reason ? `${WORDS[level]}: ${reason}.` : "Nothing stands out.");
  }
}
