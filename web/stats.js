// What the browser measures of the connection, and whether that is good, fair or poor, and why.

const isKind = (kind) => (report) => report.type === "inbound-rtp" && report.kind === kind;

/**
 * The difference of two getStats() reports, as figures: null where a browser does not tell.
 * `earlier` is null for the first; then everything is since the call began.
 */
export function readingOf(report, earlier) {
  const video = pick(report, isKind("video"));
  const audio = pick(report, isKind("audio"));
  const videoBefore = pick(earlier, isKind("video"));
  const audioBefore = pick(earlier, isKind("audio"));
  const pair = pairOf(report);
  const since = (now, before, key) => (now?.[key] ?? 0) - (before?.[key] ?? 0);
  const both = (key) => since(video, videoBefore, key) + since(audio, audioBefore, key);
  const seconds = (video ?? audio)
    ? since(video ?? audio, videoBefore ?? audioBefore, "timestamp") / 1000
    : 0;
  const lost = Math.max(0, both("packetsLost"));
  const packets = lost + both("packetsReceived");
  const emitted = since(audio, audioBefore, "jitterBufferEmittedCount");
  const path = pathOf(report, pair);
  return {
    fps: video && videoBefore ? round(since(video, videoBefore, "framesDecoded") / seconds, 1) : null,
    lossPercent: packets > 0 ? round((100 * lost) / packets, 1) : 0,
    rttMs: pair?.currentRoundTripTime === undefined ? null : round(1000 * pair.currentRoundTripTime),
    jitterMs: audio?.jitter === undefined ? null : round(1000 * audio.jitter),
    jitterBufferMs:
      emitted > 0 ? round((1000 * since(audio, audioBefore, "jitterBufferDelay")) / emitted) : null,
    kbps: seconds > 0 ? round((8 * both("bytesReceived")) / 1000 / seconds) : null,
    freezes: since(video, videoBefore, "freezeCount"),
    frozenMs: round(1000 * since(video, videoBefore, "totalFreezesDuration")),
    framesDropped: since(video, videoBefore, "framesDropped"),
    size: video?.frameWidth ? `${video.frameWidth} by ${video.frameHeight}` : "",
    codec: report.get?.(video?.codecId)?.mimeType ?? "",
    ...path,
  };
}

function pick(report, isIt) {
  if (!report) return null;
  for (const each of report.values()) if (isIt(each)) return each;
  return null;
}

function pairOf(report) {
  const transport = pick(report, (each) => each.type === "transport");
  const selected = report.get?.(transport?.selectedCandidatePairId);
  return (
    selected ?? pick(report, (each) => each.type === "candidate-pair" && each.nominated === true)
  );
}

/** How packets travel; kinds and protocol, never addresses. */
function pathOf(report, pair) {
  const local = report.get?.(pair?.localCandidateId);
  const remote = report.get?.(pair?.remoteCandidateId);
  if (!local || !remote) return { path: "", isRelayed: false };
  const isRelayed = local.candidateType === "relay" || remote.candidateType === "relay";
  return { path: `${local.candidateType} to ${remote.candidateType}, ${local.protocol}`, isRelayed };
}

const round = (value, digits = 0) => Number(value.toFixed(digits));

const LIMITS = [
  // figure, fair from, poor from, words
  ["lossPercent", 2, 8, (value) => `${value} % of packets lost`],
  ["rttMs", 250, 600, (value) => `slow network, ${value} ms there and back`],
  ["jitterMs", 40, 100, (value) => `uneven network, ${value} ms jitter`],
];
const FAIR_FPS = 0.9; // of the profile's frames a second
const POOR_FPS = 0.6;

const RANK = { good: 0, fair: 1, poor: 2 };
const GOOD = { level: "good", reason: "" };

const worst = (verdicts) =>
  verdicts.reduce((one, other) => (RANK[other.level] > RANK[one.level] ? other : one), GOOD);

const levelOfFrames = (made, wanted) =>
  made < POOR_FPS * wanted ? "poor" : made < FAIR_FPS * wanted ? "fair" : "good";

/**
 * {level, reason} of a reading and of what the server says (avatar.quality, or null). Few frames
 * are put down to what is known to be wrong: the network, or a server that says that it is late.
 */
export function judge(reading, server, fps) {
  const found = LIMITS.filter(([key, fair]) => reading[key] !== null && reading[key] >= fair).map(
    ([key, , poor, words]) => ({
      level: reading[key] >= poor ? "poor" : "fair",
      reason: words(reading[key]),
    }),
  );
  if (server?.reason) {
    const made = levelOfFrames(server.fps, fps);
    found.push({
      level: made === "poor" ? "poor" : "fair",
      reason: made === "good" ? server.reason : `${server.reason}, ${round(server.fps)} fps`,
    });
  }
  const verdict = worst(found);
  const frames = reading.fps === null ? "good" : levelOfFrames(reading.fps, fps);
  if (RANK[frames] <= RANK[verdict.level]) return verdict;
  const reason = verdict.reason || `only ${round(reading.fps)} fps arrive`;
  return { level: frames, reason };
}

/** Changes of the verdict are shown when they hold for two readings: one late packet is no news. */
export class Steady {
  #shown = GOOD;
  #candidate = null;

  next(verdict) {
    if (verdict.level === this.#shown.level) {
      this.#shown = verdict;
      this.#candidate = null;
    } else if (this.#candidate === verdict.level) {
      this.#shown = verdict;
      this.#candidate = null;
    } else {
      this.#candidate = verdict.level;
    }
    return this.#shown;
  }
}

/** The figures of a reading as [name, text], for people. */
export function factsOf(reading, server) {
  const known = (value, unit) => (value === null || value === "" ? "not told" : `${value}${unit}`);
  return [
    ["Picture", known(reading.size, "")],
    ["Frames a second", known(reading.fps, "")],
    ["Made by the server", server ? `${round(server.fps, 1)} a second` : "not told"],
    ["Late chunks, stalls", server ? `${server.late_chunks}, ${server.stalls}` : "not told"],
    ["Packets lost", known(reading.lossPercent, " %")],
    ["There and back", known(reading.rttMs, " ms")],
    ["Jitter", known(reading.jitterMs, " ms")],
    ["Jitter buffer", known(reading.jitterBufferMs, " ms")],
    ["Received", known(reading.kbps, " kbit/s")],
    ["Way", known(reading.path, "")],
    ["Codec", known(reading.codec, "")],
  ];
}
