// What the page tells the session over the data channel: OpenAI Realtime names, and avatar.*.

export const MAX_TYPED = 2000;

/** A typed message, and the wish for an answer. */
export const typed = (text) => [
  {
    type: "conversation.item.create",
    item: { type: "message", role: "user", content: [{ type: "input_text", text }] },
  },
  { type: "response.create" },
];

export const stopTalking = () => ({ type: "response.cancel" });

export const pushToTalk = (pressed) => ({ type: "avatar.push_to_talk", pressed });

/** Another character goes on with the call. */
export const swapTo = (avatar) => ({ type: "avatar.swap", avatar });

export const heartbeat = (n) => ({ type: "avatar.heartbeat", n });
