// The page of the gateway: from choosing a character through the call to its transcript.

import { askForKey, takeKeyFromAddress } from "./access.js";
import { ApiError, createSession, deleteSession } from "./api.js";
import {
  Devices,
  closeMicrophone,
  isAllowed,
  openMicrophone,
  playTestSound,
} from "./devices.js";
import { prepareFiles } from "./files.js";
import { prepareKeys } from "./keys.js";
import { Lobby } from "./lobby.js";
import { choices, choose, forgetCall, keptCall } from "./memory.js";
import { Meter, drawsInto } from "./meter.js";
import { Picture } from "./picture.js";
import { endedText, kindOfMicrophoneProblem, microphoneHelp } from "./problems.js";
import { followReadiness } from "./readiness.js";
import { Room } from "./room.js";
import { download, drawTranscript } from "./transcript.js";
import { byId, clockText, openDialog, openView, prepareDialogs, setText, show, toast } from "./ui.js";
import { Waiting } from "./waiting.js";

const devices = new Devices((kind) => {
  if (kind === "speaker") room.changeSpeaker();
  else if (room.isOpen) room.changeMicrophone();
  else if (tested) testMicrophone();
});
const picture = new Picture(devices);
const room = new Room(picture, showEnded);
const lobby = new Lobby(call);
const waiting = new Waiting(showLobby);
let last = { avatar: null, items: [] }; // of the call that ended
let attempt = 0; // a call that was given up is not entered
let calling = new AbortController(); // gives up the place in line of one that waits

// Views

function showLobby() {
  attempt += 1;
  calling.abort();
  byId("devices-home").append(byId("devices"));
  document.title = "TalkingMachines";
  openView("lobby");
}

function showRoom(avatar) {
  stopTest();
  byId("devices-away").append(byId("devices"));
  room.prepare(avatar);
  openView("call");
}

function showEnded({ reason, detail, avatar, limits, items, seconds }) {
  forgetCall();
  last = { avatar, items };
  document.title = "Call ended · TalkingMachines";
  byId("ended-portrait").src = avatar.portrait;
  setText("ended-text", endedText(reason, detail, limits));
  byId("ended").dataset.reason = reason;
  setText("ended-length", `${clockText(seconds)} with ${avatar.display_name}`);
  setText("again", `Call ${avatar.display_name} again`);
  drawTranscript(byId("ended-items"), items, avatar.display_name);
  show("ended-transcript", items.length > 0);
  byId("devices-home").append(byId("devices"));
  openView("ended");
}

function showByAddress() {
  if (room.isOpen || document.body.dataset.view === "waiting") return;
  if (location.hash === "#file") openView("files");
  else if (document.body.dataset.view === "files") showLobby();
}

// Calling

async function call(avatar) {
  const mine = ++attempt;
  showRoom(avatar);
  const microphone = await askForMicrophone(() => mine === attempt);
  if (mine !== attempt) {
    closeMicrophone(microphone.stream);
    return;
  }
  try {
    calling = new AbortController();
    const placed = (place) => {
      if (mine === attempt) waitInLine(avatar, place);
    };
    const session = await createSession(avatar.id, placed, calling.signal);
    if (mine !== attempt) {
      closeMicrophone(microphone.stream);
      deleteSession(session);
      return;
    }
    showRoom(avatar);
    room.enter(session, microphone.stream);
    if (microphone.error) room.helpWithMicrophone(microphone.error);
    devices.refresh();
  } catch (error) {
    closeMicrophone(microphone.stream);
    if (mine !== attempt) return;
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 401) {
      showLobby();
      if (await askForKey()) call(avatar);
      return;
    }
    notTaken(avatar, error);
  }
}

function waitInLine(avatar, place) {
  if (document.body.dataset.view !== "waiting") openView("waiting"); // focus stays where it is
  waiting.inLine(avatar, place);
}

function notTaken(avatar, error) {
  if (error.status === 503) {
    openView("waiting");
    waiting.start(avatar, error, () => call(avatar));
    return;
  }
  showLobby();
  toast(
    error.status === 0
      ? "The server does not answer. Is make run still running?"
      : `The call was not taken: ${error.message}.`,
  );
}

/** {stream, error}; neither where the caller goes on by text before the browser has asked. */
async function askForMicrophone() {
  const opening = openMicrophone().then(
    (stream) => ({ stream, error: null }),
    (error) => ({ stream: null, error }),
  );
  const byText = new Promise((resolve) => {
    picture.say("Your browser asks whether this page may hear you.", {
      button: "Go on by text",
      action: () => resolve({ stream: null, error: null }),
      spins: false,
    });
  });
  const found = await Promise.race([opening, byText]);
  if (!found.stream) opening.then(({ stream }) => closeMicrophone(stream)); // allowed too late
  picture.say("Connecting …");
  return found;
}

/** Goes on with the call of this tab, after a reload. */
async function resume({ session, avatar, startedAt, items = [] }) {
  showRoom(avatar);
  let microphone = null;
  if (await isAllowed()) microphone = await openMicrophone().catch(() => null);
  room.enter(session, microphone, { startedAt, items });
  if (!microphone) toast("The microphone is off after a reload: “No mic” switches it on again.");
  devices.refresh();
}

// Testing the microphone before the call

const testMeter = new Meter(drawsInto(byId("meter"), byId("meter-bar")));
let tested = null;

async function testMicrophone() {
  stopTest();
  byId("lobby-help").replaceChildren();
  try {
    tested = await openMicrophone();
    testMeter.start(tested);
    setText("check-microphone", "Stop");
    devices.refresh();
  } catch (error) {
    const dismiss = () => byId("lobby-help").replaceChildren();
    const help = microphoneHelp(kindOfMicrophoneProblem(error), { again: testMicrophone, dismiss });
    byId("lobby-help").replaceChildren(help);
  }
}

function stopTest() {
  testMeter.stop();
  closeMicrophone(tested);
  tested = null;
  setText("check-microphone", "Test");
}

// Boot

function prepareButtons() {
  byId("check-microphone").addEventListener("click", () => (tested ? stopTest() : testMicrophone()));
  byId("check-speaker").addEventListener("click", () => playTestSound(devices).catch(() => {}));
  byId("again").addEventListener("click", () => call(last.avatar));
  byId("other").addEventListener("click", showLobby);
  byId("settings-button").addEventListener("click", () => openDialog(byId("settings")));
  byId("help-button").addEventListener("click", () => openDialog(byId("help")));
  byId("settings-help").addEventListener("click", () => {
    byId("settings").close();
    openDialog(byId("help"));
  });
  for (const button of document.querySelectorAll("[data-download]")) {
    button.addEventListener("click", () => {
      const source = room.isOpen
        ? { avatar: room.avatar, items: room.conversation.items }
        : last;
      download(button.dataset.download, source.items, source.avatar.display_name);
    });
  }
  byId("hang-up").addEventListener("click", () => {
    if (room.isOpen) room.hangUp();
    else showLobby(); // given up before there was a call
  });
}

function prepareCaptionSize() {
  const select = byId("caption-size");
  const apply = () => (document.documentElement.dataset.captions = select.value);
  select.value = choices().captionSize ?? "medium";
  select.addEventListener("change", () => {
    choose({ captionSize: select.value });
    apply();
  });
  apply();
}

async function boot() {
  takeKeyFromAddress();
  prepareDialogs();
  prepareButtons();
  prepareCaptionSize();
  prepareKeys(() => room.isOpen, {
    talk: (isDown) => room.talk(isDown),
    stop: () => room.stop(),
    help: () => openDialog(byId("help")),
    letters: {
      m: () => room.mute(),
      x: () => room.stop(),
      s: () => room.toggleCaptions(),
      d: () => room.quality.toggleDebug(),
      t: () => byId("typed").focus(),
    },
  });
  window.addEventListener("hashchange", showByAddress);
  devices.refresh();
  const kept = keptCall();
  if (kept) resume(kept);
  else showByAddress();
  followReadiness((isReady, models) => lobby.setReady(isReady, models));
  await lobby.load();
  prepareFiles(lobby.avatars);
  room.meet(lobby.avatars);
}

boot();
