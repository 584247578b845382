// The call on the page: what the server tells is shown, what the caller does is told.

import { Call } from "./call.js";
import { Captions } from "./captions.js";
import { Conversation } from "./conversation.js";
import { closeMicrophone, openMicrophone } from "./devices.js";
import { copyDiagnostics } from "./diagnostics.js";
import { MAX_TYPED, pushToTalk, stopTalking, typed } from "./events.js";
import { Latency } from "./latency.js";
import { modelsText } from "./lobby.js";
import { choices, choose, keepCall } from "./memory.js";
import { Meter, drawsInto } from "./meter.js";
import { kindOfMicrophoneProblem, microphoneHelp } from "./problems.js";
import { Steady, factsOf, judge, readingOf } from "./stats.js";
import { drawTranscript } from "./transcript.js";
import { byId, clockText, element, setText, show, toast } from "./ui.js";

const READ_MS = 1000;
const USUAL_BUFFER_MS = 60; // of sound, until the browser has measured it
const LAST_SECONDS = 60; // counted down before a limit
const FPS = 25;

const STATES = {
  microphone: "Microphone",
  connecting: "Connecting",
  idle: "Ready",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  reconnecting: "Reconnecting",
};

export class Room {
  avatar = null;
  conversation = new Conversation();
  latency = new Latency();
  #call = null;
  #microphone = null;
  #picture;
  #ended;
  #captions;
  #meter = new Meter(drawsInto(byId("meter"), byId("meter-bar")));
  #state = "idle";
  #isMuted = false;
  #isTalking = false;
  #timer = 0;
  #report = null;
  #reading = null;
  #server = null; // the last avatar.quality
  #steady = new Steady();
  #wakeLock = null;

  /** `ended` is called with {reason, detail, seconds, avatar, limits, items} after a call. */
  constructor(picture, ended) {
    this.#picture = picture;
    this.#ended = ended;
    this.#captions = new Captions({
      heard: byId("caption-heard"),
      said: byId("caption-said"),
      live: byId("caption-live"),
    });
    this.#captions.isOn = choices().captions ?? true;
    this.#prepareControls();
    this.#prepareTyping();
    document.addEventListener("visibilitychange", () => this.#stayAwake());
  }

  get isOpen() {
    return this.#call !== null;
  }

  /** Shows the room for `avatar`, before there is a connection. */
  prepare(avatar) {
    this.avatar = avatar;
    this.latency.clear();
    this.#report = this.#reading = this.#server = null;
    this.#steady = new Steady();
    this.#isMuted = this.#isTalking = false;
    this.#captions.clear();
    byId("notices").replaceChildren();
    setText("call-title", avatar.display_name);
    setText("elapsed", "0:00");
    show("left", false);
    this.#take([]);
    this.#showQuality({ level: "wait", reason: "" }, "…");
    this.#showState("connecting");
    this.#picture.begin(avatar);
    this.#picture.say("Connecting …");
  }

  /** Enters a session; `kept` is what this tab remembers of a call that goes on. */
  enter(session, microphone, kept = null) {
    this.#take(kept?.items ?? []);
    this.startedAt = kept?.startedAt ?? Date.now();
    keepCall({ session, avatar: this.avatar, startedAt: this.startedAt, items: this.conversation.items });
    setText("call-models", session.models?.length ? modelsText(session.models) : "");
    const call = new Call(session, microphone);
    this.#call = call;
    this.#setMicrophone(microphone);
    call.addEventListener("phase", ({ detail }) => this.#onPhase(detail));
    call.addEventListener("stream", ({ detail }) => this.#picture.play(detail));
    call.addEventListener("message", ({ detail }) => this.#onMessage(detail));
    this.#timer = setInterval(() => this.#tick(), READ_MS);
    this.#stayAwake();
    call.connect({ isResume: kept !== null });
  }

  hangUp() {
    return this.#call?.hangUp();
  }

  /** Another microphone was chosen while the call goes on. */
  async changeMicrophone() {
    if (!this.#call || !this.#microphone) return;
    closeMicrophone(this.#microphone);
    await this.switchMicrophoneOn();
  }

  changeSpeaker() {
    this.#picture.route();
  }

  async switchMicrophoneOn() {
    try {
      const microphone = await openMicrophone();
      byId("notices").replaceChildren();
      if (!this.#call) {
        closeMicrophone(microphone);
        return;
      }
      this.#setMicrophone(microphone);
      await this.#call.useMicrophone(microphone);
    } catch (error) {
      this.#setMicrophone(null);
      this.#call?.useMicrophone(null);
      this.helpWithMicrophone(error);
    }
  }

  helpWithMicrophone(error) {
    const help = microphoneHelp(kindOfMicrophoneProblem(error), {
      again: () => this.switchMicrophoneOn(),
      dismiss: () => {
        byId("notices").replaceChildren();
        byId("typed").focus();
      },
    });
    byId("notices").replaceChildren(help);
  }

  // What the connection tells

  #onPhase({ phase, reason, detail }) {
    if (phase === "connecting") this.#showState("connecting");
    if (phase === "reconnecting") {
      this.#talk(false);
      this.#captions.cut();
      this.#picture.hold();
      this.#report = null;
      this.#showState("reconnecting");
    }
    if (phase === "live") {
      this.#picture.say("");
      this.#showState(this.#state);
    }
    if (phase === "ended") this.#leave(reason, detail);
    byId("call").dataset.phase = phase;
  }

  #leave(reason, detail) {
    clearInterval(this.#timer);
    const { session } = this.#call;
    this.#call = null;
    closeMicrophone(this.#microphone);
    this.#microphone = null;
    this.#meter.stop();
    this.#captions.clear();
    this.#picture.say("");
    this.#picture.end();
    this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
    this.#state = "idle";
    this.#ended({
      reason,
      detail,
      avatar: this.avatar,
      limits: session.limits,
      items: this.conversation.items,
      seconds: (Date.now() - this.startedAt) / 1000,
    });
  }

  #onMessage(event) {
    this.conversation.receive(event);
    MESSAGES[event.type]?.(this, event);
  }

  onState(state) {
    this.#state = state;
    if (this.#call?.phase === "live") this.#showState(state);
  }

  onSentence({ delta, words = [] }) {
    const buffer = this.#reading?.jitterBufferMs ?? USUAL_BUFFER_MS;
    this.#captions.say(delta, words, performance.now() + buffer);
  }

  onHeard(text, isFinal) {
    this.#captions.hear(text, isFinal);
  }

  onSilence(wasCut) {
    if (wasCut) this.#captions.cut();
    else this.#captions.finish();
  }

  onLatency(event) {
    const { rttMs = null, jitterBufferMs = null } = this.#reading ?? {};
    const isKnown = rttMs !== null || jitterBufferMs !== null;
    this.latency.add(event, isKnown ? (rttMs ?? 0) + (jitterBufferMs ?? 0) : null);
  }

  onQuality(event) {
    this.#server = event;
  }

  onFailed(text) {
    toast(text);
  }

  // What the caller does

  mute() {
    if (!this.#microphone) {
      this.switchMicrophoneOn();
      return;
    }
    this.#isMuted = !this.#isMuted;
    this.#applyMute();
  }

  talk(isDown) {
    if (isDown && !this.#microphone) {
      this.switchMicrophoneOn();
      return;
    }
    this.#talk(isDown);
  }

  stop() {
    this.#captions.cut();
    this.#call?.send(stopTalking());
  }

  toggleCaptions() {
    const isOn = byId("captions-toggle").getAttribute("aria-pressed") !== "true";
    choose({ captions: isOn });
    this.#captions.isOn = isOn;
    byId("captions-toggle").setAttribute("aria-pressed", String(isOn));
  }

  toggleDebug() {
    const isShown = byId("debug").hidden;
    show("debug", isShown);
    byId("debug-toggle").setAttribute("aria-pressed", String(isShown));
    this.#showDebug();
  }

  #talk(isDown) {
    if (isDown === this.#isTalking) return;
    if (!this.#call?.send(pushToTalk(isDown)) && isDown) return;
    this.#isTalking = isDown;
    byId("talk").setAttribute("aria-pressed", String(isDown));
    this.#applyMute();
  }

  /** The talk button is heard through a muted microphone: that is what it is for. */
  #applyMute() {
    const isHeard = !this.#isMuted || this.#isTalking;
    for (const track of this.#microphone?.getAudioTracks() ?? []) track.enabled = isHeard;
    const isOff = !this.#microphone || this.#isMuted;
    byId("mute").setAttribute("aria-pressed", String(isOff));
    byId("mute-icon").setAttribute("href", isOff ? "#i-mic-off" : "#i-mic");
    setText("mute-label", !this.#microphone ? "No mic" : this.#isMuted ? "Muted" : "Mute");
    byId("talk").toggleAttribute("data-absent", !this.#microphone);
  }

  #setMicrophone(stream) {
    this.#microphone = stream;
    this.#meter.stop();
    this.#applyMute();
    if (!stream) return;
    this.#meter.start(stream);
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      if (this.#microphone === stream) this.switchMicrophoneOn(); // unplugged: the next one
    });
  }

  #prepareControls() {
    byId("captions-toggle").setAttribute("aria-pressed", String(choices().captions ?? true));
    byId("mute").addEventListener("click", () => this.mute());
    byId("stop").addEventListener("click", () => this.stop());
    byId("captions-toggle").addEventListener("click", () => this.toggleCaptions());
    byId("debug-toggle").addEventListener("click", () => this.toggleDebug());
    byId("copy-diagnostics").addEventListener("click", () => copyDiagnostics(this.diagnostics()));
    for (const control of document.querySelectorAll(".control")) {
      // a mouse leaves no focus behind, so that the space bar stays the talk key
      control.addEventListener("click", (event) => event.detail > 0 && control.blur());
    }
    const talk = byId("talk");
    talk.addEventListener("pointerdown", (event) => {
      talk.setPointerCapture(event.pointerId);
      this.talk(true);
    });
    for (const over of ["pointerup", "pointercancel", "lostpointercapture"]) {
      talk.addEventListener(over, () => this.talk(false));
    }
    talk.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
    talk.addEventListener("keydown", ({ key, repeat }) => {
      if (!repeat && (key === " " || key === "Enter")) this.talk(true);
    });
    for (const over of ["keyup", "blur"]) talk.addEventListener(over, () => this.talk(false));
  }

  #prepareTyping() {
    byId("typing").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = byId("typed").value.trim().slice(0, MAX_TYPED);
      if (!text) return;
      const [item, answer] = typed(text);
      if (!this.#call?.send(item)) {
        toast("Not sent: the connection is away. Your text stays here.");
        return;
      }
      this.#call.send(answer);
      byId("typed").value = "";
      this.conversation.addTyped(text);
      this.#show(this.conversation.items);
    });
  }

  // What is shown

  #take(items) {
    this.conversation = new Conversation(items, (changed) => this.#show(changed));
    this.#show(this.conversation.items);
  }

  #show(items) {
    const log = byId("log");
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 48;
    drawTranscript(byId("items"), items, this.avatar?.display_name ?? "");
    show("log-empty", items.length === 0);
    if (isAtEnd) log.scrollTop = log.scrollHeight;
    if (this.#call) keepCall({ items });
  }

  #showState(state) {
    byId("state").dataset.state = state;
    setText("state-text", STATES[state] ?? state);
    const isBusy = state === "speaking" || state === "thinking";
    byId("stop").setAttribute("aria-disabled", String(!isBusy));
    document.title = `${this.avatar.display_name} · ${STATES[state] ?? state}`;
  }

  async #tick() {
    const call = this.#call;
    this.#showTime();
    if (call?.phase === "reconnecting") {
      const left = call.graceS - (performance.now() - call.lostAt) / 1000;
      this.#picture.say(`Reconnecting … ${clockText(left)}`, {
        button: "Hang up",
        action: () => this.hangUp(),
      });
      this.#showQuality({ level: "poor", reason: "the connection is lost" });
    }
    if (call?.phase !== "live") return;
    const report = await call.stats();
    if (call !== this.#call || call.phase !== "live") return;
    this.#reading = readingOf(report, this.#report);
    this.#report = report;
    const fps = call.session.profile?.fps ?? FPS;
    this.#showQuality(this.#steady.next(judge(this.#reading, this.#server, fps)));
    this.#showFacts();
  }

  #showTime() {
    const seconds = (Date.now() - this.startedAt) / 1000;
    setText("elapsed", clockText(seconds));
    const limit = this.#call?.session.limits?.session_s;
    const left = limit ? limit - seconds : Infinity;
    show("left", left <= LAST_SECONDS);
    if (left <= LAST_SECONDS) setText("left", `, ${clockText(left)} left`);
  }

  #showQuality({ level, reason }, text = "") {
    const words = { good: "Good", fair: "Fair", poor: "Poor" };
    byId("quality-chip").dataset.level = level;
    setText("quality-text", text || [words[level], reason].filter(Boolean).join(": "));
    setText("quality-reason", reason ? `${words[level]}: ${reason}.` : "Nothing stands out.");
  }

  #showFacts() {
    const facts = factsOf(this.#reading, this.#server);
    byId("quality-facts").replaceChildren(
      ...facts.flatMap(([name, text]) => [
        element("dt", { textContent: name }),
        element("dd", { textContent: text }),
      ]),
    );
    this.#showDebug();
  }

  #showDebug() {
    if (byId("debug").hidden || !this.#reading) return;
    const facts = [
      ...factsOf(this.#reading, this.#server),
      ["Heartbeat", `${Math.round(this.#call?.heartbeatMs ?? 0)} ms`],
      ["Freezes", `${this.#reading.freezes} in the last second`],
      ["Resumed", `${this.#call?.resumes ?? 0} times`],
      ["State", this.#state],
    ];
    setText("debug", facts.map(([name, text]) => `${name.padEnd(20)} ${text}`).join("\n"));
  }

  /** What helps to find a fault: figures and states, nothing of what was said or who is there. */
  diagnostics() {
    const call = this.#call;
    return {
      session: call?.session.id ?? "",
      avatar: this.avatar?.id ?? "",
      profile: call?.session.profile ?? null,
      phase: call?.phase ?? "ended",
      state: this.#state,
      resumes: call?.resumes ?? 0,
      heartbeat_ms: call?.heartbeatMs ?? null,
      seconds: Math.round((Date.now() - this.startedAt) / 1000),
      has_microphone: this.#microphone !== null,
      connection: this.#reading,
      server_quality: this.#server,
      answers: this.latency.turns,
      browser: navigator.userAgent,
    };
  }

  async #stayAwake() {
    if (!this.isOpen || document.visibilityState !== "visible" || !navigator.wakeLock) return;
    this.#wakeLock = await navigator.wakeLock.request("screen").catch(() => null);
  }
}

const MESSAGES = {
  "avatar.state": (room, { state }) => room.onState(state),
  "conversation.item.input_audio_transcription.delta": (room, event) =>
    room.onHeard(event.transcript, false),
  "conversation.item.input_audio_transcription.completed": (room, event) =>
    room.onHeard(event.transcript, true),
  "avatar.speech_ignored": (room) => room.onHeard("", true),
  "response.output_audio_transcript.delta": (room, event) => room.onSentence(event),
  "output_audio_buffer.stopped": (room) => room.onSilence(false),
  "output_audio_buffer.cleared": (room) => room.onSilence(true),
  "avatar.latency": (room, event) => room.onLatency(event),
  "avatar.quality": (room, event) => room.onQuality(event),
  "response.done": (room, { response }) => {
    if (response.status === "failed") room.onFailed(`No answer: ${response.reason || "it failed"}.`);
  },
  "error": (room, { error }) => room.onFailed(error.message),
};
