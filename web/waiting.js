// A server without a free line: a countdown to the next try, which can be cancelled.

import { byId, setText } from "./ui.js";

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

  /** Counts down what the server asked for, then calls `retry`. */
  start(avatar, error, retry) {
    this.stop();
    this.#retry = retry;
    byId("waiting-portrait").src = avatar.portrait;
    const isFull = error.reason === "NO_FREE_SLOT";
    setText("waiting-title", isFull ? "All lines are busy" : "Not ready for calls yet");
    setText(
      "waiting-text",
      isFull
        ? `Other people are in a call. ${avatar.display_name} answers as soon as a line is free.`
        : `The server says: ${error.message}.`,
    );
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

  stop() {
    clearInterval(this.#timer);
  }

  #tryNow() {
    this.stop();
    this.#retry();
  }
}
