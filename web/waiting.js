// A server without a free line: a place among those who wait, or a countdown to the next try.

import { byId, setText, show } from "./ui.js";

const USUAL_WAIT_S = 5;

export class Waiting {
  #timer = 0;
  #retry = () => {};

  constructor(cancelled) {
    byId("waiting-now").addEventListener("click", () => this.#tryNow());
    byId("waiting-cancel").addEventListener("click", () => {
      this.stop();
      cancelled();
    });
  }

  /** Says how far it is. */
  inLine(avatar, { position, estimate_s: seconds }) {
    this.stop();
    this.#tell(avatar, true, "");
    show("waiting-countdown", false);
    show("waiting-now", false);
    const place = position === 1 ? "You are next" : `You are number ${position} in line`;
    setText("waiting-place", `${place}, ${aboutText(seconds)}.`);
    show("waiting-place", true);
    setText("waiting-spoken", `${place}.`);
  }

  /** Counts down what the server asked for, then calls `retry`. */
  start(avatar, error, retry) {
    this.stop();
    this.#retry = retry;
    this.#tell(avatar, error.reason === "NO_FREE_SLOT", error.message);
    show("waiting-countdown", true);
    show("waiting-now", true);
    show("waiting-place", false);
    const seconds = error.retryAfter || USUAL_WAIT_S;
    const until = performance.now() + 1000 * seconds;
    setText("waiting-spoken", `Calling again in ${seconds} seconds.`);
    const count = () => {
      const left = Math.ceil((until - performance.now()) / 1000);
      setText("waiting-seconds", String(Math.max(0, left)));
      if (left <= 0) this.#tryNow();
    };
    count();
    this.#timer = setInterval(count, 250);
  }

  #tell(avatar, isFull, message) {
    byId("waiting-portrait").src = avatar.portrait;
    setText("waiting-title", isFull ? "All lines are busy" : "Not ready for calls yet");
    setText(
      "waiting-text",
      isFull
        ? `Other people are in a call. ${avatar.display_name} answers as soon as a line is free.`
        : `The server says: ${message}.`,
    );
  }

  stop() {
    clearInterval(this.#timer);
  }

  #tryNow() {
    this.stop();
    this.#retry();
  }
}

function aboutText(seconds) {
  if (seconds < 60) return "less than a minute";
  const minutes = Math.round(seconds / 60);
  return minutes === 1 ? "about a minute" : `about ${minutes} minutes`;
}
