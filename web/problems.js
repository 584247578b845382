// What went wrong, in plain words, each with its next step.

import { element } from "./ui.js";

const BROWSERS = ["Chrome or Edge", "Firefox", "Safari"];

/** The four ways in which there is no microphone; steps are in the order of BROWSERS. */
const MICROPHONE = {
  denied: {
    title: "The microphone is not allowed",
    text: "Your browser was told not to let this page hear you. You can allow it again:",
    steps: [
      "Click the icon left of the address, switch Microphone on, then choose “Try again”.",
      "Click the crossed-out microphone left of the address, remove the block, then choose “Try again”.",
      "In the menu Safari choose Settings for this website, set Microphone to Allow, then reload. On an iPhone: “aA” left of the address, Website Settings.",
    ],
  },
  missing: {
    title: "No microphone was found",
    text: "Your computer offers none to the browser. Plug one in, or switch your headset on; then choose “Try again”. If there is one:",
    steps: [
      "Open chrome:settings/content/microphone and look whether it is in the list.",
      "Look in the sound settings of your system whether an input device is switched on.",
      "In System Settings open Privacy, then Microphone, and switch Safari on.",
    ],
  },
  busy: {
    title: "Another program holds the microphone",
    text: "It is there, but could not be opened. Close other calls and recorders, then choose “Try again”. If that does not help:",
    steps: [
      "Close other tabs that use the microphone: they carry a red dot. Then start the browser again.",
      "Close other tabs that use the microphone, and start the browser again. On Windows, look in Privacy, Microphone whether desktop apps may use it.",
      "Quit other apps that show the orange dot in the menu bar, then reload.",
    ],
  },
  insecure: {
    title: "This address is not secure enough for a microphone",
    text: "Browsers give the microphone only to pages over https, or from this very machine. Next step:",
    steps: [
      "On the machine that runs the server, open this page as localhost. From another one, put https before it, or forward its port: ssh -L PORT:localhost:PORT.",
      "The same: localhost on the machine itself, or https before the server, or a port forwarded by ssh.",
      "The same: localhost on the machine itself, or https before the server. A phone needs https.",
    ],
  },
  other: {
    title: "The microphone could not be opened",
    text: "The browser gives no reason that this page knows. Choose “Try again”, or reload the page.",
    steps: [],
  },
};

const KINDS = {
  NotAllowedError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export function kindOfMicrophoneProblem(error) {
  if (!window.isSecureContext || !navigator.mediaDevices) return "insecure";
  return KINDS[error?.name] ?? "other";
}

function thisBrowser() {
  const agent = navigator.userAgent;
  if (/firefox|fxios/i.test(agent)) return 1;
  if (/safari/i.test(agent) && !/chrom|crios|edg/i.test(agent)) return 2;
  return 0;
}

/** Help for a microphone that does not work: this browser's step first, the others' folded. */
export function microphoneHelp(kind, { again, dismiss }) {
  const { title, text, steps } = MICROPHONE[kind];
  const mine = thisBrowser();
  const box = element("section", { className: "help", role: "alert" });
  box.dataset.kind = kind;
  box.append(element("h2", { textContent: title }), element("p", { textContent: text }));
  if (steps.length > 0) {
    const others = element("details", {}, element("summary", { textContent: "Another browser" }));
    BROWSERS.forEach((name, index) => {
      const step = element("p", {}, element("strong", { textContent: `${name}: ` }), steps[index]);
      (index === mine ? box : others).append(step);
    });
    box.append(others);
  }
  box.append(element("p", { textContent: "Until then you can type: the call goes on." }));
  const actions = element("div", { className: "actions" });
  const canRetry = kind !== "insecure";
  if (canRetry) actions.append(button("Try again", again));
  actions.append(button("Go on by text", dismiss));
  box.append(actions);
  return box;
}

function button(textContent, action) {
  const made = element("button", { type: "button", textContent });
  made.addEventListener("click", action);
  return made;
}

const minutes = (seconds) => {
  const whole = Math.round(seconds / 60);
  return whole === 1 ? "a minute" : `${whole} minutes`;
};

const ENDED = {
  hung_up: () => "You hung up.",
  replaced: () => "The call goes on in another window or tab of yours.",
  idle: (limits) =>
    limits.idle_s
      ? `Nobody said anything for ${minutes(limits.idle_s)}, so the line was freed.`
      : "Nobody said anything for a while, so the line was freed.",
  time_limit: (limits) =>
    limits.session_s
      ? `The call reached its limit of ${minutes(limits.session_s)}.`
      : "The call reached its time limit.",
  no_connection: (limits) =>
    `The connection was away for more than ${limits.grace_s ?? 30} seconds. ` +
    "Look at your network, then call again.",
  gone: () => "The server does not know this call any more: it was away too long, or started anew.",
  server_error: () => "Something failed on the server, and the call with it. Its log says what.",
  event_flood: () => "This page sent more messages than a call may. Reload it, then call again.",
  text_flood: () => "More messages were typed than a call takes. Type a little more slowly.",
  microphone_flood: () => "More sound came from the microphone than time has passed. Reload the page.",
  shutdown: () => "The server is being stopped. Call again when it is back.",
  refused: () => "The server did not take the call.",
};

/** Why a call ended, for people. */
export function endedText(reason, detail, limits = {}) {
  const text = ENDED[reason]?.(limits) ?? `The server ended the call (${reason}).`;
  return detail ? `${text} It says: ${detail}.` : text;
}

const STAGES = {
  audio_llm: "hearing, thinking and the voice",
  audio_encoder: "the ear for lips",
  score_worker: "the face",
  vae_decoder: "the painter of frames",
  gateway: "the line",
};

/** What a server that is not ready waits for, for people. */
export function warmingText(error) {
  if (error.status === 0) return "The server does not answer.";
  const names = error.waitingFor.map((name) => STAGES[name] ?? name);
  if (names.length === 0) return "Warming up …";
  return `Warming up: ${names.join(", ")} …`;
}
