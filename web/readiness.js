// Whether the server can be called yet, in plain words.

import * as api from "./api.js";
import { warmingText } from "./problems.js";
import { byId, pause, setText } from "./ui.js";

const POLL_MS = 1000;
const POLL_READY_MS = 15000;

/** Follows the server for ever; `changed` is called with whether it is ready, and its models. */
export async function followReadiness(changed) {
  for (;;) {
    let wait = POLL_MS;
    if (document.body.dataset.view !== "call") {
      try {
        const { models = [] } = await api.readiness();
        tell("ready", "Ready");
        changed(true, models);
        wait = POLL_READY_MS;
      } catch (error) {
        tell(error.status === 0 ? "lost" : "wait", warmingText(error));
        changed(false, []);
      }
    }
    await pause(wait);
  }
}

function tell(level, text) {
  byId("readiness").dataset.level = level;
  setText("readiness-text", text);
}
