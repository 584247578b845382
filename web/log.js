// The conversation beside the picture: its transcript, which follows, and the text box.

import { MAX_TYPED, typed } from "./events.js";
import { drawTranscript } from "./transcript.js";
import { byId, show, toast } from "./ui.js";

const NEAR_THE_END = 48; // pixels

export class Log {
  #isAtEnd = true; // it follows what is said, unless somebody reads further up

  /** `tell` sends an event, and says whether it could; `sent` is told what was typed. */
  constructor(tell, sent) {
    this.#followTheEnd();
    byId("typing").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = byId("typed").value.trim().slice(0, MAX_TYPED);
      if (!text) return;
      if (!typed(text).every((each) => tell(each))) {
        toast("Not sent: the connection is away. Your text stays here.");
        return;
      }
      byId("typed").value = "";
      sent(text);
    });
  }

  show(items, avatarName) {
    drawTranscript(byId("items"), items, avatarName);
    show("log-empty", items.length === 0);
    this.#follow();
  }

  #followTheEnd() {
    const log = byId("log");
    log.addEventListener("scroll", () => {
      this.#isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_THE_END;
    });
    const observer = new ResizeObserver(() => this.#follow());
    observer.observe(log);
    observer.observe(byId("items"));
  }

  #follow() {
    const log = byId("log");
    if (this.#isAtEnd) log.scrollTop = log.scrollHeight;
  }
}
