// Runs in the page before its own scripts: keeps what the call sounds and looks like, with times.
//
// All times are performance.now() milliseconds. `look` is set before this script:
// {mouth: null} keeps of each picture 64 x 64 of its green, {mouth: [x, y, side]} that square too.

(() => {
  const SMALL = 64;
  const RATE = 48000;
  const look = window.measuredLook ?? { mouth: null };
  const kept = { sound: [], clock: [], pictures: [], events: [], stats: [], problems: [] };
  const problem = (error) => kept.problems.push(String(error?.stack ?? error));

  const TAP = `
    registerProcessor("tap", class extends AudioWorkletProcessor {
      constructor() {
        super();
        this.block = new Float32Array(4800);
        this.filled = 0;
      }
      process([input]) {
        const sound = input[0];
        if (this.filled === 0) this.first = currentFrame;
        this.block.set(sound ?? new Float32Array(128), this.filled);
        this.filled += 128;
        if (this.filled + 128 > this.block.length) {
          this.port.postMessage({ first: this.first, block: this.block.slice(0, this.filled) });
          this.filled = 0;
        }
        return true;
      }
    });`;

  async function watchSound(track) {
    const context = new AudioContext({ sampleRate: RATE });
    const module = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
    await context.audioWorklet.addModule(module);
    const tap = new AudioWorkletNode(context, "tap");
    tap.port.onmessage = ({ data }) => {
      kept.sound.push({ first: data.first, pcm: Int16Array.from(data.block, (x) => 32767 * x) });
    };
    const silence = new GainNode(context, { gain: 0 });
    context.createMediaStreamSource(new MediaStream([track])).connect(tap);
    tap.connect(silence).connect(context.destination); // what leads nowhere is not computed
    await context.resume();
    setInterval(() => {
      const { contextTime, performanceTime } = context.getOutputTimestamp();
      kept.clock.push([context.currentTime, performance.now(), contextTime, performanceTime]);
    }, 50);
  }

  function canvas(width, height) {
    return new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  }

  async function watchPictures(track) {
    const shows = (video) => video.srcObject?.getVideoTracks().includes(track);
    let video = null;
    while (!(video = [...document.querySelectorAll("video")].find(shows))) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const small = canvas(SMALL, SMALL);
    const [x, y, side] = look.mouth ?? [0, 0, 1];
    const mouth = canvas(side, side);
    const onFrame = (now, about) => {
      video.requestVideoFrameCallback(onFrame);
      small.drawImage(video, 0, 0, SMALL, SMALL);
      const pixels = small.getImageData(0, 0, SMALL, SMALL).data;
      const picture = { now, about, green: pixels.filter((_, index) => index % 4 === 1) };
      if (look.mouth) {
        mouth.drawImage(video, x, y, side, side, 0, 0, side, side);
        picture.mouth = mouth.getImageData(0, 0, side, side).data.filter((_, i) => i % 4 !== 3);
      }
      kept.pictures.push(picture);
    };
    video.requestVideoFrameCallback(onFrame);
  }

  const WANTED = [
    "kind", "estimatedPlayoutTimestamp", "jitterBufferDelay", "jitterBufferEmittedCount",
    "framesDecoded", "framesDropped", "freezeCount", "totalFreezesDuration", "framesPerSecond",
    "packetsLost", "concealedSamples", "totalSamplesReceived", "silentConcealedSamples",
    "insertedSamplesForDeceleration", "removedSamplesForAcceleration", "decoderImplementation",
  ];

  function watchStats(peer) {
    const timer = setInterval(async () => {
      if (peer.connectionState === "closed") return clearInterval(timer);
      const report = await peer.getStats();
      for (const each of report.values()) {
        if (each.type !== "inbound-rtp") continue;
        const about = { at: performance.now() };
        for (const name of WANTED) if (name in each) about[name] = each[name];
        kept.stats.push(about);
      }
    }, 500);
  }

  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...given) {
      super(...given);
      this.addEventListener("track", ({ track }) => {
        (track.kind === "audio" ? watchSound : watchPictures)(track).catch(problem);
      });
      watchStats(this);
    }

    createDataChannel(...given) {
      const channel = super.createDataChannel(...given);
      window.sendEvent = (event) => channel.send(JSON.stringify(event));
      channel.addEventListener("message", ({ data }) => {
        const event = JSON.parse(data);
        if (event.type !== "avatar.heartbeat") kept.events.push({ at: performance.now(), event });
      });
      return channel;
    }
  };

  // Handing over: pieces of what was kept, bytes as base64.

  function base64(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) {
      text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    }
    return btoa(text);
  }

  window.toldCount = (type) => kept.events.filter(({ event }) => event.type === type).length;

  window.toldFirst = (type) => kept.events.find(({ event }) => event.type === type)?.event;

  window.takeMeasured = () => {
    const { clock, events, stats, problems } = kept;
    return { clock, events, stats, problems, sounds: kept.sound.length, pictures: kept.pictures.length };
  };

  window.takeSound = (first, count) =>
    kept.sound.slice(first, first + count).map(({ first, pcm }) => ({
      first,
      pcm: base64(new Uint8Array(pcm.buffer)),
    }));

  window.takePictures = (first, count) =>
    kept.pictures.slice(first, first + count).map(({ now, about, green, mouth }) => ({
      now,
      about,
      green: base64(green),
      mouth: mouth ? base64(mouth) : "",
    }));
})();
