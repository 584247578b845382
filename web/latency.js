// Time to answer: the server's stages and the way to the caller, as bars that add up to the total.

import { byId, element, setText, show } from "./ui.js";

const NETWORK = "network and jitter buffer";

const seconds = (ms) => `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;

/**
 * The stages of a turn in whole milliseconds, and their sum: what the server measured, what of its
 * total no stage accounts for, and the network and jitter buffer as this browser measured them.
 */
export function stagesOf(event, networkMs) {
  const stages = event.stages.map(({ name, ms }) => ({ name, ms: Math.round(ms) }));
  const rest = Math.round(event.total_ms) - stages.reduce((sum, { ms }) => sum + ms, 0);
  // one millisecond a stage is rounding
  if (rest > stages.length) stages.push({ name: "not accounted for", ms: rest });
  if (networkMs !== null) stages.push({ name: NETWORK, ms: Math.round(networkMs) });
  return { stages, totalMs: stages.reduce((sum, { ms }) => sum + ms, 0) };
}

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export class Latency {
  turns = []; // {stages, totalMs} of every answer of this call

  clear() {
    this.turns = [];
    show("latency-chip", false);
  }

  add(event, networkMs) {
    const turn = stagesOf(event, networkMs);
    this.turns.push(turn);
    setText("latency-number", seconds(turn.totalMs));
    show("latency-chip");
    this.#draw(turn);
  }

  #draw({ stages, totalMs }) {
    let before = 0;
    const bars = stages.map(({ name, ms }) => {
      const bar = element("span", { className: "bar" });
      bar.style.setProperty("--from", String(before / totalMs));
      bar.style.setProperty("--share", String(ms / totalMs));
      before += ms;
      const track = element("span", { className: "track" }, bar);
      track.setAttribute("aria-hidden", "true");
      return element(
        "li",
        {},
        element("span", { className: "name", textContent: name }),
        track,
        element("span", { className: "ms", textContent: `${ms} ms` }),
      );
    });
    byId("latency-bars").replaceChildren(...bars);
    const totals = this.turns.map((turn) => turn.totalMs);
    const count = totals.length === 1 ? "one answer" : `${totals.length} answers`;
    const wayIsKnown = stages.some(({ name }) => name === NETWORK);
    setText(
      "latency-sum",
      `Together ${totalMs} ms. Median of ${count}: ${Math.round(median(totals))} ms.` +
        (wayIsKnown ? "" : " The way to you was not measured yet."),
    );
  }
}
