// One call: its session, its WebRTC connection, its heartbeat, and the way back after a loss.

import * as api from "./api.js";
import { heartbeat } from "./events.js";
import { pause } from "./ui.js";

const HEARTBEAT_MS = 250;
const SILENCE_MS = 1500; // without an echo for this long, the connection counts as lost
const GATHER_MS = 2000; // candidates found later than this are not waited for
const CONNECT_MS = 10000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 4000;
const GRACE_S = 30;

const GONE = new Set([401, 403, 404, 409, 410]);
const TOO_OFTEN = 429;
const isRefusal = (error) =>
  error instanceof api.ApiError &&
  error.status >= 400 &&
  error.status < 500 &&
  error.status !== TOO_OFTEN;

/**
 * Tells by events: "phase" {phase: connecting | live | reconnecting | ended, reason, detail},
 * "message" (an event of the server), "stream" (a MediaStream to play).
 */
export class Call extends EventTarget {
  #peer = null;
  #channel = null;
  #timer = 0;
  #beats = 0;
  #sent = new Map(); // heartbeats on their way: number, and when
  #heardAt = 0;
  #tickedAt = 0;
  #generation = 0; // what belongs to an older connection is not listened to
  #abort = new AbortController();

  constructor(session, microphone) {
    super();
    this.session = session;
    this.microphone = microphone; // a MediaStream, or null: then the call is typed
    this.phase = "";
    this.lostAt = 0;
    this.resumes = 0;
    this.heartbeatMs = null;
  }

  get graceS() {
    return this.session.limits?.grace_s ?? GRACE_S;
  }

  /** Connects for the first time, or after a reload of the page. */
  async connect({ isResume = false } = {}) {
    if (isResume) {
      this.#lose();
      return;
    }
    this.#setPhase("connecting");
    try {
      await this.#open();
    } catch (error) {
      if (this.phase === "ended") return;
      if (isRefusal(error)) this.#failed(error);
      else this.#lose();
    }
  }

  /** Sends an event; false when there is no connection to send it over. */
  send(event) {
    if (this.phase !== "live" || this.#channel?.readyState !== "open") return false;
    this.#channel.send(JSON.stringify(event));
    return true;
  }

  /** Another microphone, or none: replaced in place where the connection has one already. */
  async useMicrophone(stream) {
    this.microphone = stream;
    const track = stream?.getAudioTracks()[0] ?? null;
    const sender = this.#peer
      ?.getTransceivers()
      .find((each) => each.direction === "sendrecv" && each.receiver.track.kind === "audio")?.sender;
    if (sender) await sender.replaceTrack(track);
    else if (track && this.phase === "live") this.#lose(); // a new offer, with a microphone in it
  }

  stats() {
    return this.#peer?.getStats() ?? Promise.resolve(new Map());
  }

  /** Ends the call here and on the server. */
  hangUp() {
    const session = this.session;
    this.finish("hung_up");
    return api.deleteSession(session);
  }

  finish(reason, detail = "") {
    if (this.phase === "ended") return;
    this.#abort.abort();
    this.#close();
    this.#setPhase("ended", reason, detail);
  }

  async #open() {
    this.#close();
    const generation = ++this.#generation;
    const isCurrent = () => generation === this.#generation && this.phase !== "ended";
    const peer = new RTCPeerConnection({ iceServers: this.session.ice_servers ?? [] });
    this.#peer = peer;
    const channel = peer.createDataChannel("events");
    const opened = new Promise((resolve, reject) => {
      channel.onopen = resolve;
      setTimeout(() => reject(new Error("no connection in time")), CONNECT_MS);
    });
    opened.catch(() => {}); // it is awaited below, unless something fails before
    channel.onmessage = ({ data }) => isCurrent() && this.#receive(data);
    channel.onclose = () => isCurrent() && this.phase === "live" && this.#lose();
    peer.onconnectionstatechange = () => {
      if (isCurrent() && this.phase === "live" && peer.connectionState === "failed") this.#lose();
    };
    const stream = new MediaStream();
    peer.ontrack = ({ track }) => {
      stream.addTrack(track);
      if (isCurrent()) this.dispatchEvent(new CustomEvent("stream", { detail: stream }));
    };
    const track = this.microphone?.getAudioTracks()[0];
    if (track) {
      peer.addTransceiver(track, { direction: "sendrecv", streams: [this.microphone] });
    } else {
      peer.addTransceiver("audio", { direction: "recvonly" });
    }
    peer.addTransceiver("video", { direction: "recvonly" });
    await peer.setLocalDescription();
    await gathered(peer);
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(CONNECT_MS)]);
    const sdp = await api.offer(this.session, peer.localDescription.sdp, signal);
    await peer.setRemoteDescription({ type: "answer", sdp });
    await opened;
    if (!isCurrent()) return;
    this.#channel = channel;
    this.#heardAt = this.#tickedAt = performance.now();
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#setPhase("live");
  }

  #receive(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return; // no event
    }
    const now = performance.now();
    this.#heardAt = now;
    if (event.type === "avatar.heartbeat") {
      const sentAt = this.#sent.get(event.n);
      if (sentAt !== undefined) this.heartbeatMs = now - sentAt;
      this.#sent.delete(event.n);
      return;
    }
    this.dispatchEvent(new CustomEvent("message", { detail: event }));
    if (event.type === "avatar.ended") this.finish(event.reason || "server_error");
  }

  #beat() {
    const now = performance.now();
    const slept = now - this.#tickedAt > SILENCE_MS; // a tab that slept has heard nobody
    this.#tickedAt = now;
    if (slept) this.#heardAt = now;
    if (now - this.#heardAt > SILENCE_MS) {
      this.#lose();
      return;
    }
    const n = this.#beats++;
    this.#sent.set(n, now);
    if (this.#sent.size > 40) this.#sent.delete(this.#sent.keys().next().value);
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify(heartbeat(n)));
  }

  /** The way back: offers again, ever more slowly, until the server's grace is over. */
  async #lose() {
    if (this.phase === "reconnecting" || this.phase === "ended") return;
    this.lostAt = performance.now();
    this.#close();
    this.#setPhase("reconnecting");
    for (let wait = 0; ; wait = Math.min(Math.max(2 * wait, FIRST_RETRY_MS), LONGEST_RETRY_MS)) {
      await this.#untilOnline(wait);
      if (this.phase !== "reconnecting") return;
      try {
        await this.#open();
        this.resumes += 1;
        return;
      } catch (error) {
        if (this.phase !== "reconnecting") return;
        this.#close();
        if (isRefusal(error)) {
          this.#failed(error);
          return;
        }
      }
      if (performance.now() - this.lostAt > 1000 * this.graceS) {
        this.finish("no_connection");
        return;
      }
    }
  }

  /** Waits, but not a moment longer than the network is away. */
  async #untilOnline(ms) {
    const isBack = new Promise((resolve) => {
      const controls = { once: true, signal: this.#abort.signal };
      window.addEventListener("online", resolve, controls);
    });
    await Promise.race([pause(ms), isBack]);
  }

  #failed(error) {
    if (GONE.has(error.status)) this.finish("gone", error.message);
    else this.finish("refused", error.message);
  }

  #close() {
    clearInterval(this.#timer);
    this.#generation += 1;
    this.#sent.clear();
    this.#channel = null;
    this.#peer?.close();
    this.#peer = null;
  }

  #setPhase(phase, reason = "", detail = "") {
    this.phase = phase;
    this.dispatchEvent(new CustomEvent("phase", { detail: { phase, reason, detail } }));
  }
}

/** Waits until the connection knows how it can be reached. */
export function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  const isDone = new Promise((resolve) => {
    peer.addEventListener("icegatheringstatechange", () => {
      if (peer.iceGatheringState === "complete") resolve();
    });
  });
  return Promise.race([isDone, pause(GATHER_MS)]);
}
