// Microphone and loudspeaker: choosing them, remembering the choice, noticing new ones.

import { choices, choose } from "./memory.js";
import { byId, element, show } from "./ui.js";

const CLEANED = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export const canHear = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** Opens the chosen microphone, or the usual one when that is not there any more. */
export async function openMicrophone() {
  if (!canHear()) throw new DOMException("this page may not ask for a microphone", "SecurityError");
  const chosen = choices().microphone;
  try {
    const audio = chosen ? { ...CLEANED, deviceId: { exact: chosen } } : CLEANED;
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    if (!chosen || error.name !== "OverconstrainedError") throw error;
    return navigator.mediaDevices.getUserMedia({ audio: CLEANED });
  }
}

export function closeMicrophone(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** Whether the microphone can be opened without a question to the caller. */
export async function isAllowed() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // a browser that does not tell: then it is asked
  }
}

export class Devices {
  #microphone = byId("microphone");
  #speaker = byId("speaker");

  /** `changed` is called with "microphone" or "speaker" after a choice. */
  constructor(changed) {
    this.#microphone.addEventListener("change", () => {
      choose({ microphone: this.#microphone.value });
      changed("microphone");
    });
    this.#speaker.addEventListener("change", () => {
      choose({ speaker: this.#speaker.value });
      changed("speaker");
    });
    show("speaker-row", "setSinkId" in HTMLMediaElement.prototype);
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.refresh());
  }

  /** Lists what is there now; browsers tell names only once the microphone was allowed. */
  async refresh() {
    const found = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    fill(this.#microphone, found, "audioinput", choices().microphone, "Microphone");
    fill(this.#speaker, found, "audiooutput", choices().speaker, "Speaker");
  }

  /** Lets `player` sound from the chosen loudspeaker, as far as the browser can. */
  async route(player) {
    if (!player.setSinkId) return;
    await player.setSinkId(choices().speaker ?? "").catch(() => player.setSinkId(""));
  }
}

function fill(select, found, kind, chosen, noun) {
  const devices = found.filter((each) => each.kind === kind && each.deviceId !== "default");
  const named = devices.filter((each) => each.deviceId !== "");
  const options = [
    element("option", { value: "", textContent: "System default" }),
    ...named.map((each, index) =>
      element("option", { value: each.deviceId, textContent: each.label || `${noun} ${index + 1}` }),
    ),
  ];
  select.replaceChildren(...options);
  if (named.some((each) => each.deviceId === chosen)) select.value = chosen;
}

const TONE_S = 0.7;

/** Two soft notes from the chosen loudspeaker. */
export async function playTestSound(devices) {
  const context = new AudioContext();
  try {
    const out = context.createMediaStreamDestination();
    const player = Object.assign(new Audio(), { srcObject: out.stream });
    await devices.route(player);
    for (const [index, hertz] of [523.25, 659.25].entries()) {
      const at = context.currentTime + 0.05 + 0.3 * index;
      const note = new OscillatorNode(context, { frequency: hertz });
      const volume = new GainNode(context, { gain: 0 });
      volume.gain.setTargetAtTime(0.2, at, 0.02);
      volume.gain.setTargetAtTime(0, at + 0.15, 0.06);
      note.connect(volume).connect(out);
      note.start(at);
      note.stop(at + TONE_S);
    }
    await player.play();
    await new Promise((resolve) => setTimeout(resolve, 1000 * (TONE_S + 0.5)));
  } finally {
    await context.close();
  }
}
