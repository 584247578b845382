// The picture of a call: its video, what stands there while none comes, and sound that is blocked.

import { byId, setText, show } from "./ui.js";

export class Picture {
  #video = byId("video");
  #still = byId("still");
  #frame = byId("frame");
  #devices;

  constructor(devices) {
    this.#devices = devices;
    byId("unlock").addEventListener("click", () => this.#unlock());
    this.#video.addEventListener("resize", () => this.#shape());
    this.#video.addEventListener("ended", () => this.#freeze());
  }

  /** Begins with the character's portrait: there is never a black box. */
  async begin(avatar) {
    this.#video.srcObject = null;
    this.show(avatar);
    this.#frame.style.removeProperty("--aspect");
    show("unlock", false);
    const portrait = new Image();
    portrait.src = avatar.portrait;
    this.#still.classList.remove("gone");
    const pen = this.#still.getContext("2d");
    pen.clearRect(0, 0, this.#still.width, this.#still.height);
    await portrait.decode().catch(() => {});
    if (portrait.naturalWidth && !this.#video.videoWidth) {
      this.#still.width = portrait.naturalWidth;
      this.#still.height = portrait.naturalHeight;
      pen.drawImage(portrait, 0, 0);
    }
  }

  /** Says who is seen now. */
  show(avatar) {
    this.#video.setAttribute("aria-label", `${avatar.display_name}, a generated video`);
    byId("ambience").src = avatar.portrait;
  }

  play(stream) {
    if (this.#video.srcObject === stream) return;
    this.hold();
    this.#video.srcObject = stream;
    this.#whenSeen(() => this.#still.classList.add("gone"));
    this.#devices.route(this.#video);
    this.#start();
  }

  /** Keeps the last frame, until the next one is there. */
  hold() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    if (!width || !this.#still.classList.contains("gone")) return;
    Object.assign(this.#still, { width, height });
    this.#still.getContext("2d").drawImage(this.#video, 0, 0);
    this.#still.classList.remove("gone");
  }

  end() {
    this.#video.srcObject = null;
    byId("ambience").removeAttribute("src");
  }

  route() {
    return this.#devices.route(this.#video);
  }

  get frames() {
    return this.#video.getVideoPlaybackQuality?.().totalVideoFrames ?? null;
  }

  #whenSeen(then) {
    if (this.#video.requestVideoFrameCallback) this.#video.requestVideoFrameCallback(then);
    else this.#video.addEventListener("loadeddata", then, { once: true });
  }

  #shape() {
    const { videoWidth, videoHeight } = this.#video;
    if (videoWidth) this.#frame.style.setProperty("--aspect", String(videoWidth / videoHeight));
  }

  #freeze() {
    this.hold();
  }

  /** Plays with sound, or silently with a button where the browser wants a click first. */
  async #start() {
    this.#video.muted = false;
    try {
      await this.#video.play();
      show("unlock", false);
    } catch (error) {
      if (error.name !== "NotAllowedError") return; // replaced by a newer stream
      show("unlock");
      this.#video.muted = true;
      await this.#video.play().catch(() => {});
    }
  }

  #unlock() {
    show("unlock", false);
    this.#start();
  }

  /** Words over the picture, with a button or without; nothing to say clears them. */
  say(text, { button = "", action = null, spins = true } = {}) {
    setText("overlay-text", text);
    show("overlay", text !== "");
    show("spinner", spins);
    setText("overlay-button", button);
    byId("overlay-button").onclick = action;
    show("overlay-button", button !== "");
  }
}
