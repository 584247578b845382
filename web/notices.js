// Notices beside the call, one at a time: a microphone that fails, an idle line, an echo.

import { kindOfMicrophoneProblem, microphoneHelp } from "./problems.js";
import { byId, element } from "./ui.js";

export class Notices {
  #kind = "";

  clear(kind = this.#kind) {
    if (kind !== this.#kind) return;
    this.#kind = "";
    byId("notices").replaceChildren();
  }

  microphone(error, again) {
    const dismiss = () => {
      this.clear();
      byId("typed").focus();
    };
    this.#show("microphone", microphoneHelp(kindOfMicrophoneProblem(error), { again, dismiss }));
  }

  idle(stay) {
    const text = "Nobody has said anything for a while: the line will be freed soon.";
    this.#show("idle", box(text, "I am still here", stay));
  }

  echo(avatarName) {
    const text =
      `${avatarName} seems to be heard by your microphone too. Headphones help; ` +
      "so does muting and holding the talk button.";
    this.#show("echo", box(text, "Close", () => this.clear()));
  }

  #show(kind, shown) {
    this.#kind = kind;
    byId("notices").replaceChildren(shown);
  }
}

function box(text, label, action) {
  const button = element("button", { type: "button", textContent: label });
  button.addEventListener("click", action);
  const actions = element("div", { className: "actions" }, button);
  const made = element("section", { className: "help" }, element("p", { textContent: text }), actions);
  made.setAttribute("role", "alert");
  return made;
}

const ECHO_WORDS = 4;
const ECHO_SHARE = 0.75;

/** Whether what was understood of the caller is mostly what the avatar has just said. */
export function soundsLikeEcho(heard, said) {
  const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}']+/gu) ?? [];
  const spoken = new Set(wordsOf(said));
  const words = wordsOf(heard);
  const shared = words.filter((word) => spoken.has(word)).length;
  return words.length >= ECHO_WORDS && shared >= ECHO_SHARE * words.length;
}
