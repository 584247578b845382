// The caller's voice in a call: the microphone, muted or not, and the button held to talk.

import { closeMicrophone, openMicrophone } from "./devices.js";
import { pushToTalk } from "./events.js";
import { Meter, drawsInto } from "./meter.js";
import { byId, setText } from "./ui.js";

export class Voice {
  #stream = null;
  #isMuted = false;
  #isTalking = false;
  #meter = new Meter(drawsInto(byId("meter"), byId("meter-bar")));
  #tell;
  #changed;
  #failed;

  /**
   * `tell` sends an event, and says whether it could; `changed` is given the microphone that was
   * opened during the call, or null; `failed` the error of one that could not be.
   */
  constructor({ tell, changed, failed }) {
    this.#tell = tell;
    this.#changed = changed;
    this.#failed = failed;
    byId("mute").addEventListener("click", () => this.mute());
    this.#prepareTalkButton();
  }

  get isThere() {
    return this.#stream !== null;
  }

  /** Begins a call with this microphone, or with none. */
  begin(stream) {
    this.#isMuted = this.#isTalking = false;
    this.#take(stream);
  }

  end() {
    const stream = this.#stream;
    this.begin(null);
    closeMicrophone(stream);
  }

  /** Opens the chosen microphone, in place of the one that is open. */
  async open() {
    closeMicrophone(this.#stream);
    try {
      this.#take(await openMicrophone());
      await this.#changed(this.#stream);
    } catch (error) {
      this.#take(null);
      await this.#changed(null);
      this.#failed(error);
    }
  }

  mute() {
    if (!this.#stream) {
      this.open();
      return;
    }
    this.#isMuted = !this.#isMuted;
    this.#apply();
  }

  /** The talk button goes down or up. */
  talk(isDown) {
    if (isDown && !this.#stream) this.open();
    else if (isDown !== this.#isTalking && (this.#tell(pushToTalk(isDown)) || !isDown)) {
      this.#isTalking = isDown;
      this.#apply();
    }
  }

  #take(stream) {
    this.#stream = stream;
    this.#meter.stop();
    this.#apply();
    if (!stream) return;
    this.#meter.start(stream);
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      if (this.#stream === stream) this.open(); // unplugged: the next one
    });
  }

  /** The talk button is heard through a muted microphone: that is what it is for. */
  #apply() {
    const isHeard = !this.#isMuted || this.#isTalking;
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = isHeard;
    const isOff = !this.#stream || this.#isMuted;
    byId("mute").setAttribute("aria-pressed", String(isOff));
    byId("mute-icon").setAttribute("href", isOff ? "#i-mic-off" : "#i-mic");
    setText("mute-label", !this.#stream ? "No mic" : this.#isMuted ? "Muted" : "Mute");
    byId("talk").setAttribute("aria-pressed", String(this.#isTalking));
    byId("talk").toggleAttribute("data-absent", !this.#stream);
  }

  #prepareTalkButton() {
    const button = byId("talk");
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      this.talk(true);
    });
    for (const over of ["pointerup", "pointercancel", "lostpointercapture", "keyup", "blur"]) {
      button.addEventListener(over, () => this.talk(false));
    }
    button.addEventListener("keydown", ({ key, repeat }) => {
      if (!repeat && (key === " " || key === "Enter")) this.talk(true);
    });
    button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
  }
}
