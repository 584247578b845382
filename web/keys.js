// Keyboard shortcuts of a call; they rest while somebody types, or when switched off.

import { choices, choose } from "./memory.js";
import { byId } from "./ui.js";

const TYPES = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";
const TAKES_SPACE = "button, a, summary, input, select, textarea, [contenteditable]";

/** `actions` has one function a letter, and talk(isDown), stop(), help(). */
export function prepareKeys(isInCall, actions) {
  const toggle = byId("shortcuts");
  toggle.checked = choices().shortcuts ?? true;
  toggle.addEventListener("change", () => choose({ shortcuts: toggle.checked }));

  const isOpen = () => document.querySelector("dialog[open], [popover]:popover-open") !== null;

  document.addEventListener("keydown", (event) => {
    if (!isInCall() || isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (event.target.matches(TYPES)) event.target.blur();
      actions.stop();
      return;
    }
    if (!toggle.checked) return;
    if (event.code === "Space") {
      if (event.target.matches(TAKES_SPACE)) return;
      event.preventDefault(); // no scrolling
      if (!event.repeat) actions.talk(true);
      return;
    }
    if (event.repeat || event.target.matches(TYPES)) return;
    const action = event.key === "?" ? actions.help : actions.letters[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
  document.addEventListener("keyup", (event) => {
    if (event.code === "Space") actions.talk(false);
  });
  window.addEventListener("blur", () => actions.talk(false));
}
