// The level of the microphone, from silence to full, as a bar.

const REFRESH_MS = 60;
const SPOKEN_MS = 500; // how often a screen reader may read the value
const SILENCE_DB = -60;

export class Meter {
  #context = null;
  #timer = 0;

  /** `follow` is called with a level from 0 to 1. */
  constructor(follow) {
    this.follow = follow;
  }

  start(stream) {
    this.stop();
    this.#context = new AudioContext();
    const analyser = new AnalyserNode(this.#context, { fftSize: 1024 });
    new MediaStreamAudioSourceNode(this.#context, { mediaStream: stream }).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    let level = 0;
    this.#timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      level = Math.max(levelOf(samples), 0.8 * level); // falls slowly, so that the eye can follow
      this.follow(level);
    }, REFRESH_MS);
  }

  stop() {
    clearInterval(this.#timer);
    this.#context?.close();
    this.#context = null;
    this.follow(0);
  }
}

function levelOf(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  const decibels = 10 * Math.log10(power + 1e-12);
  return Math.min(1, Math.max(0, 1 - decibels / SILENCE_DB));
}

/** Draws levels as the bar of a role=meter, and tells its value less often than it moves. */
export function drawsInto(meter, bar) {
  let spokenAt = 0;
  return (level) => {
    bar.style.setProperty("--level", level.toFixed(3));
    const now = performance.now();
    if (level > 0 && now - spokenAt < SPOKEN_MS) return;
    spokenAt = now;
    meter.setAttribute("aria-valuenow", String(Math.round(100 * level)));
  };
}
