// What this browser remembers: choices for ever, the running call for this tab.

const CHOICES = "talkingmachines.choices";
const CALL = "talkingmachines.call";
const KEY = "talkingmachines.key";

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key)) ?? {};
  } catch {
    return {}; // forbidden, or not ours: as if nothing was remembered
  }
}

function write(storage, key, value) {
  try {
    storage.setItem(key, JSON.stringify(value));
  } catch {
    // a browser that keeps nothing still calls
  }
}

/** avatar, microphone, speaker, captions, captionSize, shortcuts; those that were chosen. */
export const choices = () => read(localStorage, CHOICES);

export function choose(changed) {
  write(localStorage, CHOICES, { ...choices(), ...changed });
}

/** The call of this tab: {session, startedAt, items}, or null. A reload goes on with it. */
export function keptCall() {
  const call = read(sessionStorage, CALL);
  return call.session?.id && call.session?.token ? call : null;
}

export function keepCall(changed) {
  write(sessionStorage, CALL, { ...read(sessionStorage, CALL), ...changed });
}

export const forgetCall = () => forget(CALL);

/** What opens calls at a server that asks for keys; of this tab, too. */
export const keptKey = () => read(sessionStorage, KEY).key ?? "";

export const keepKey = (key) => write(sessionStorage, KEY, { key });

export const forgetKey = () => forget(KEY);

function forget(key) {
  try {
    sessionStorage.removeItem(key);
  } catch {
    // nothing was kept
  }
}
