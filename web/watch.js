// Watching a call: the picture and the sound that its caller gets, and nothing to say.

import * as api from "./api.js";
import { gathered } from "./call.js";
import { Picture } from "./picture.js";
import { byId, pause, setText } from "./ui.js";

const ASK_MS = 3000;
const CONNECT_MS = 10000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 8000;

const seat = {
  id: new URLSearchParams(location.search).get("session") ?? "",
  token: location.hash.slice(1), // servers and their logs never see what stands behind the #
};
const picture = new Picture({ route: async () => {} });
const leaving = new AbortController();
let viewer = ""; // the path of this connection on the server

function show(state, text) {
  byId("state").dataset.state = state;
  setText("state-text", text);
}

function showAudience({ caller_is_connected: isThere, viewers }) {
  const others = viewers.watching - 1;
  setText("count", others > 0 ? `${others} more ${others === 1 ? "watches" : "watch"}.` : "");
  show(isThere ? "listening" : "queued", isThere ? "Live" : "The caller is away");
}

async function begin() {
  const [about, everyone] = await Promise.all([api.audience(seat), api.avatars()]);
  const avatar = everyone.find((each) => each.id === about.avatar);
  setText("title", avatar.display_name);
  document.title = `Watching ${avatar.display_name} · TalkingMachines`;
  picture.begin(avatar);
}

/** Watches until the connection is lost. */
async function watch() {
  const about = await api.audience(seat);
  const peer = new RTCPeerConnection({ iceServers: about.ice_servers });
  const lost = new Promise((resolve) => {
    peer.onconnectionstatechange = () => {
      if (["failed", "closed"].includes(peer.connectionState)) resolve();
    };
  });
  try {
    const connected = new Promise((resolve, reject) => {
      peer.addEventListener("connectionstatechange", () => {
        if (peer.connectionState === "connected") resolve();
      });
      setTimeout(() => reject(new Error("no connection in time")), CONNECT_MS);
    });
    connected.catch(() => {}); // it is awaited below, unless something fails before
    const stream = new MediaStream();
    peer.ontrack = ({ track }) => {
      stream.addTrack(track);
      picture.play(stream);
    };
    peer.addTransceiver("audio", { direction: "recvonly" });
    peer.addTransceiver("video", { direction: "recvonly" });
    await peer.setLocalDescription();
    await gathered(peer);
    const answer = await api.watch(seat, peer.localDescription.sdp, leaving.signal);
    viewer = answer.path;
    await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    await connected;
    picture.say("");
    for (let isLost = false; !isLost; ) {
      showAudience(await api.audience(seat));
      isLost = await Promise.race([lost.then(() => true), pause(ASK_MS)]);
    }
  } finally {
    picture.hold();
    peer.onconnectionstatechange = null;
    peer.close();
    viewer = "";
  }
}

/** What no further attempt would change; "" where one may. */
function finalWords(error) {
  if (!(error instanceof api.ApiError)) return "";
  if (error.status === 404) return "This call has ended.";
  if (error.status === 401) return "This link does not work, or no longer.";
  return "";
}

async function run() {
  picture.say("Connecting …");
  let hasBegun = false;
  for (let wait = FIRST_RETRY_MS; ; wait = Math.min(2 * wait, LONGEST_RETRY_MS)) {
    try {
      if (!hasBegun) await begin();
      hasBegun = true;
      await watch();
      wait = FIRST_RETRY_MS;
    } catch (error) {
      const words = finalWords(error);
      if (words) {
        show("ended", "Ended");
        setText("count", "");
        picture.say(words, { spins: false });
        return;
      }
      const isFull = error.reason === "TOO_MANY_VIEWERS";
      picture.say(isFull ? "As many watch as may. Waiting for a seat …" : "Connecting again …");
    }
    show("reconnecting", "Reconnecting");
    await pause(wait);
  }
}

window.addEventListener("pagehide", () => {
  leaving.abort();
  if (viewer) api.stopWatching(seat, viewer);
});
run();
