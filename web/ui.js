// Small helpers for the document: finding, making and showing elements.

export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function show(target, isShown = true) {
  const shown = typeof target === "string" ? byId(target) : target;
  if (shown.hidden === isShown) shown.hidden = !isShown;
}

/** Sets a text only when it changes: screen readers say a live region again otherwise. */
export function setText(target, text) {
  const changed = typeof target === "string" ? byId(target) : target;
  if (changed.textContent !== text) changed.textContent = text;
}

const VIEWS = ["lobby", "waiting", "call", "ended", "files"];

/** Shows one view, and moves the focus to its heading, so that a screen reader reads on there. */
export function openView(name, { focus = true } = {}) {
  for (const view of VIEWS) show(view, view === name);
  document.body.dataset.view = name;
  show("masthead", name !== "call");
  for (const panel of document.querySelectorAll("[popover]:popover-open")) panel.hidePopover();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  window.scrollTo(0, 0);
  if (focus) document.querySelector(`#${name} h1`).focus({ preventScroll: true });
}

let toastTimer = 0;

export function toast(text) {
  setText("toast", text);
  show("toast");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => show("toast", false), 5000);
}

export function openDialog(dialog) {
  if (!dialog.open) dialog.showModal();
}

/** Closes dialogs by their cross and by a click beside them. */
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }
}

/** Minutes and seconds, as 1:05. */
export function clockText(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export const prefersStillness = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
