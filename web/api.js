// The gateway's HTTP API: problems become errors with their reason.

import { entrance } from "./access.js";

const ANSWER_MS = 15000;

/** An answer that is none: `status` is 0 where the server did not answer at all. */
export class ApiError extends Error {
  constructor(status, reason, detail, retryAfter = 0, waitingFor = []) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.reason = reason;
    this.retryAfter = retryAfter;
    this.waitingFor = waitingFor;
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {
      cache: "no-store",
      signal: AbortSignal.timeout(ANSWER_MS),
      ...options,
    });
  } catch {
    throw new ApiError(0, "NO_ANSWER", "the server does not answer");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(
    response.status,
    problem.reason ?? "HTTP_ERROR",
    problem.detail ?? response.statusText,
    Number(response.headers.get("retry-after")) || 0,
    problem.waiting_for ?? [],
  );
}

const bearer = (session) => ({ authorization: `Bearer ${session.token}` });
const pathOf = (session) => `/v1/sessions/${encodeURIComponent(session.id)}`;

export const readiness = async () => (await ask("/readyz")).json();

export const avatars = async () => (await ask("/v1/avatars")).json();

/** The bytes of a short idle video, as a URL of this page. */
export const preview = async (path) =>
  URL.createObjectURL(await (await ask(path, { cache: "default" })).blob());

/**
 * {id, token, avatar, models, ice_servers, limits, profile}
 *
 * Where all lines are busy it waits for one, and `placed` hears {position, waiting, estimate_s}
 * again and again; `signal` gives the place up.
 */
export async function createSession(avatar, placed, signal) {
  const giveUp = new AbortController();
  signal.addEventListener("abort", () => giveUp.abort());
  let silence = setTimeout(() => giveUp.abort(), ANSWER_MS);
  const response = await ask("/v1/sessions", {
    method: "POST",
    headers: { ...entrance(), "content-type": "application/json", accept: "text/event-stream" },
    body: JSON.stringify({ avatar }),
    signal: giveUp.signal,
  });
  try {
    for await (const event of events(response)) {
      clearTimeout(silence);
      silence = setTimeout(() => giveUp.abort(), ANSWER_MS);
      if (event.type === "session.created") return event.session;
      if (event.type === "avatar.queue") placed(event);
      if (event.type === "error") {
        const status = event.error.code === "quota_exceeded" ? 429 : 503;
        throw new ApiError(status, event.error.code.toUpperCase(), event.error.message);
      }
    }
  } catch (error) {
    if (error instanceof ApiError) throw error;
  } finally {
    clearTimeout(silence);
  }
  throw new ApiError(0, "NO_ANSWER", "the server does not answer");
}

/** Server-sent events of a response, as objects. */
async function* events(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (text + decoder.decode(value, { stream: true })).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice("data: ".length));
    }
  }
}

/** Sends an SDP offer, and gives the answer's SDP. */
export async function offer(session, sdp, signal) {
  const response = await ask(`${pathOf(session)}/call`, {
    method: "POST",
    headers: { ...bearer(session), "content-type": "application/sdp" },
    body: sdp,
    signal,
  });
  return response.text();
}

/** Ends a session; that it is gone already is as good. */
export async function deleteSession(session) {
  await ask(pathOf(session), { method: "DELETE", headers: bearer(session), keepalive: true }).catch(
    () => {},
  );
}

/** The path of a page on which others may watch this session, with a token of its own. */
export async function watchPath(session) {
  const path = `${pathOf(session)}/viewer-tokens`;
  const response = await ask(path, { method: "POST", headers: bearer(session) });
  return (await response.json()).watch;
}

/** {avatar, caller_is_connected, viewers: {watching, most}, ice_servers} */
export const audience = async (seat) =>
  (await ask(`${pathOf(seat)}/viewers`, { headers: bearer(seat) })).json();

/** Sends a viewer's SDP offer, and gives the answer's SDP and the viewer's path. */
export async function watch(seat, sdp, signal) {
  const response = await ask(`${pathOf(seat)}/viewers`, {
    method: "POST",
    headers: { ...bearer(seat), "content-type": "application/sdp" },
    body: sdp,
    signal,
  });
  return { sdp: await response.text(), path: response.headers.get("location") };
}

export async function stopWatching(seat, path) {
  await ask(path, { method: "DELETE", headers: bearer(seat), keepalive: true }).catch(() => {});
}
