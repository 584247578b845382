// The call on the page: what the server tells is shown, what the caller does is told.

import { watchPath } from "./api.js";
import { Call } from "./call.js";
import { Captions } from "./captions.js";
import { Conversation } from "./conversation.js";
import { copyDiagnostics } from "./diagnostics.js";
import { stopTalking, swapTo } from "./events.js";
import { Latency } from "./latency.js";
import { modelsText } from "./lobby.js";
import { Log } from "./log.js";
import { choices, choose, keepCall } from "./memory.js";
import { Notices, soundsLikeEcho } from "./notices.js";
import { Quality } from "./quality.js";
import { byId, clockText, element, setText, show, toast } from "./ui.js";
import { Voice } from "./voice.js";

const READ_MS = 1000;

const STATES = {
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
  quality = new Quality();
  #cast = []; // who may go on with a call
  #notices = new Notices();
  #voice;
  #log;
  #captions;
  #picture;
  #ended;
  #call = null;
  #startedAt = 0;
  #state = "idle";
  #wasEchoTold = false;
  #limit = null; // {limit, until} that the server counts down
  #timer = 0;
  #wakeLock = null;

  /** `ended` is called with {reason, detail, seconds, avatar, limits, items} after a call. */
  constructor(picture, ended) {
    this.#picture = picture;
    this.#ended = ended;
    const tell = (event) => this.#call?.send(event) ?? false;
    this.#log = new Log(tell, (text) => {
      this.conversation.addTyped(text);
      this.#keepItems();
    });
    this.#voice = new Voice({
      tell,
      changed: (microphone) => {
        if (!this.#call) this.#voice.end(); // the call ended meanwhile
        if (microphone) this.#notices.clear("microphone");
        return this.#call?.useMicrophone(microphone);
      },
      failed: (error) => this.helpWithMicrophone(error),
    });
    this.#captions = new Captions({
      heard: byId("caption-heard"),
      said: byId("caption-said"),
      live: byId("caption-live"),
      sounded: () => this.#showItems(),
    });
    this.#prepareControls();
    document.addEventListener("visibilitychange", () => this.#stayAwake());
  }

  get isOpen() {
    return this.#call !== null;
  }

  /** Shows the room for `avatar`, before there is a connection. */
  prepare(avatar) {
    this.avatar = avatar;
    this.latency.clear();
    this.quality.begin();
    this.#captions.clear();
    this.#notices.clear();
    this.#voice.begin(null);
    this.#state = "idle";
    this.#wasEchoTold = false;
    this.onLimit({ limit: "", seconds_left: null });
    this.onViewers(0);
    this.#take([]);
    setText("call-title", avatar.display_name);
    setText("elapsed", "0:00");
    this.#showState("connecting");
    this.#picture.begin(avatar);
    this.#picture.say("Connecting …");
  }

  /** Enters a session; `kept` is what this tab remembers of a call that goes on. */
  enter(session, microphone, kept = null) {
    const call = new Call(session, microphone);
    this.#call = call;
    this.#startedAt = kept?.startedAt ?? Date.now();
    keepCall({ session, avatar: this.avatar, startedAt: this.#startedAt });
    this.#take(kept?.items ?? []);
    this.#voice.begin(microphone);
    setText("call-models", "");
    this.onModels(session.models);
    call.addEventListener("phase", ({ detail }) => this.#onPhase(detail));
    call.addEventListener("stream", ({ detail }) => this.#picture.play(detail));
    call.addEventListener("message", ({ detail }) => this.#onMessage(detail));
    show("share-row");
    this.#showWho();
    this.#timer = setInterval(() => this.#tick(), READ_MS);
    this.#stayAwake();
    call.connect({ isResume: kept !== null });
  }

  /** Who may go on with a call. */
  meet(avatars) {
    this.#cast = avatars;
    byId("swap").replaceChildren(
      ...avatars.map(({ id, display_name }) =>
        element("option", { value: id, textContent: display_name }),
      ),
    );
    this.#showWho();
  }

  hangUp() {
    return this.#call?.hangUp();
  }

  helpWithMicrophone(error) {
    this.#notices.microphone(error, () => this.#voice.open());
  }

  /** Another microphone was chosen while the call goes on. */
  changeMicrophone() {
    if (this.#voice.isThere) this.#voice.open();
  }

  changeSpeaker() {
    this.#picture.route();
  }

  // What the connection tells

  #onPhase({ phase, reason, detail }) {
    byId("call").dataset.phase = phase;
    if (phase === "connecting") this.#showState("connecting");
    if (phase === "reconnecting") {
      this.#voice.talk(false);
      this.#captions.cut();
      this.#picture.hold();
      this.#showState("reconnecting");
      this.#showWayBack();
    }
    if (phase === "live") {
      this.#picture.say("");
      this.#showState(this.#state);
    }
    if (phase === "ended") this.#leave(reason, detail);
  }

  #leave(reason, detail) {
    clearInterval(this.#timer);
    const { limits } = this.#call.session;
    this.#call = null;
    show("share-row", false);
    show("swap-row", false);
    this.#voice.end();
    this.#captions.clear();
    this.#picture.say("");
    this.#picture.end();
    this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
    this.#ended({
      reason,
      detail,
      limits,
      avatar: this.avatar,
      items: this.conversation.items,
      seconds: (Date.now() - this.#startedAt) / 1000,
    });
  }

  #onMessage(event) {
    this.conversation.receive(event, performance.now() + this.quality.bufferMs);
    MESSAGES[event.type]?.(this, event);
  }

  onState(state) {
    this.#state = state;
    if (this.#call?.phase === "live") this.#showState(state);
  }

  onSentence({ response_id: id, delta }) {
    const answer = this.conversation.items.find((item) => item.id === id);
    this.#captions.say(delta, answer.sentences.at(-1).words);
  }

  onHeard(text, isFinal) {
    this.#captions.hear(text, isFinal);
    if (!isFinal || this.#wasEchoTold) return;
    const said = this.conversation.items.findLast((item) => item.role === "assistant");
    this.#wasEchoTold = soundsLikeEcho(text, said?.text ?? "");
    if (this.#wasEchoTold) this.#notices.echo(this.avatar.display_name);
  }

  onSilence(wasCut) {
    if (wasCut) this.#captions.cut();
    else this.#captions.finish();
  }

  onLatency(event) {
    this.latency.add(event, this.quality.networkMs);
  }

  onQuality(event) {
    this.quality.server = event;
  }

  onModels(models) {
    if (models?.length) setText("call-models", modelsText(models));
  }

  /** The server counts down to the end of the call, or no more. */
  onLimit({ limit, seconds_left: left }) {
    this.#limit = left === null ? null : { limit, until: performance.now() + 1000 * left };
    if (limit === "idle" && left !== null) {
      this.#notices.idle(() => this.#call?.send(stopTalking())); // a sign of life; it stops nobody
    } else {
      this.#notices.clear("idle");
    }
    this.#showTime();
  }

  onViewers(count) {
    show("watching", count > 0);
    setText("watching", ` · ${count} watching`);
  }

  /** Somebody goes on with the call; the picture fades over by itself. */
  onAvatar(id) {
    const avatar = this.#cast.find((each) => each.id === id);
    if (!avatar || avatar.id === this.avatar.id) return;
    this.avatar = avatar;
    this.conversation.name = avatar.display_name;
    setText("call-title", avatar.display_name);
    this.#picture.show(avatar);
    this.#showWho();
    this.#showState(byId("state").dataset.state);
    if (this.#call) keepCall({ avatar });
  }

  onProblem(text) {
    toast(text);
  }

  // What the caller does

  mute() {
    this.#voice.mute();
  }

  talk(isDown) {
    this.#voice.talk(isDown);
  }

  /** Others may see and hear the character with this link; never the caller. */
  async share() {
    try {
      const path = await watchPath(this.#call.session);
      await navigator.clipboard.writeText(new URL(path, location.href).href);
      byId("settings").close(); // it would cover the words
      toast("Link copied: whoever has it sees and hears the character, not you.");
    } catch (error) {
      toast(`There is no link: ${error.message}.`);
    }
  }

  stop() {
    this.#captions.cut();
    this.#call?.send(stopTalking());
  }

  toggleCaptions() {
    const isOn = byId("captions-toggle").getAttribute("aria-pressed") !== "true";
    choose({ captions: isOn });
    this.#showCaptions(isOn);
  }

  #prepareControls() {
    this.#showCaptions(choices().captions ?? true);
    byId("stop").addEventListener("click", () => this.stop());
    byId("captions-toggle").addEventListener("click", () => this.toggleCaptions());
    byId("share").addEventListener("click", () => this.share());
    byId("swap").addEventListener("change", () => this.#call?.send(swapTo(byId("swap").value)));
    byId("copy-diagnostics").addEventListener("click", () => copyDiagnostics(this.diagnostics()));
    for (const control of document.querySelectorAll(".control")) {
      // a mouse leaves no focus behind, so that the space bar stays the talk key
      control.addEventListener("click", (event) => event.detail > 0 && control.blur());
    }
  }

  // What is shown

  #take(items) {
    this.conversation = new Conversation(
      items,
      () => this.#keepItems(),
      this.avatar?.display_name,
    );
    this.#keepItems();
  }

  #showItems() {
    this.#log.show(this.conversation.items, this.avatar?.display_name ?? "");
  }

  #keepItems() {
    this.#showItems();
    if (this.#call) keepCall({ items: this.conversation.items });
  }

  #showCaptions(isOn) {
    this.#captions.isOn = isOn;
    byId("captions-toggle").setAttribute("aria-pressed", String(isOn));
  }

  #showWho() {
    show("swap-row", this.isOpen && this.#cast.length > 1);
    if (this.avatar) byId("swap").value = this.avatar.id;
  }

  #showState(state) {
    byId("state").dataset.state = state;
    setText("state-text", STATES[state] ?? state);
    const isBusy = state === "speaking" || state === "thinking";
    byId("stop").setAttribute("aria-disabled", String(!isBusy));
    document.title = `${this.avatar.display_name} · ${STATES[state] ?? state}`;
  }

  #tick() {
    this.#showTime();
    if (this.#call?.phase === "reconnecting") this.#showWayBack();
    if (this.#call?.phase === "live") this.quality.read(this.#call, this.#state);
  }

  #showWayBack() {
    const { graceS, lostAt } = this.#call;
    const left = graceS - (performance.now() - lostAt) / 1000;
    const action = () => this.hangUp();
    this.#picture.say(`Reconnecting … ${clockText(left)}`, { button: "Hang up", action });
    this.quality.lost();
  }

  #showTime() {
    if (this.#call) setText("elapsed", clockText((Date.now() - this.#startedAt) / 1000));
    show("left", this.#limit !== null);
    if (!this.#limit) return;
    setText("left", ` ${clockText((this.#limit.until - performance.now()) / 1000)} left`);
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
      seconds: Math.round((Date.now() - this.#startedAt) / 1000),
      has_microphone: this.#voice.isThere,
      connection: this.quality.reading,
      server_quality: this.quality.server,
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
  "session.created": (room, { session }) => {
    room.onModels(session?.models);
    room.onAvatar(session?.avatar);
  },
  "avatar.swapped": (room, { avatar }) => room.onAvatar(avatar),
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
  "avatar.viewers": (room, { viewers }) => room.onViewers(viewers),
  "avatar.limit": (room, event) => room.onLimit(event),
  "response.done": (room, { response }) => {
    room.onModels(response.models);
    if (response.status === "failed") room.onProblem(`No answer: ${response.reason || "it failed"}.`);
  },
  "error": (room, { error }) => room.onProblem(error.message),
};
