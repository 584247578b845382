// The quiet way: a text or a recorded question becomes a video file, without a call.

import { askForKey, entrance } from "./access.js";
import { byId, element, setText, show } from "./ui.js";

export function prepareFiles(avatars) {
  byId("file-avatar").replaceChildren(
    ...avatars.map(({ id, display_name }) =>
      element("option", { value: id, textContent: display_name }),
    ),
  );
  byId("file-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const body = JSON.stringify({ avatar: byId("file-avatar").value, text: byId("file-text").value });
    request("/v1/say", body, "application/json");
  });
  byId("ask").addEventListener("click", () => {
    const [file] = byId("question").files;
    if (file === undefined) {
      showProgress("Choose a file first.", true);
      return;
    }
    const path = `/v1/ask?avatar=${encodeURIComponent(byId("file-avatar").value)}`;
    request(path, file, file.type || "application/octet-stream");
  });
}

function setBusy(isBusy) {
  byId("say").disabled = isBusy;
  byId("ask").disabled = isBusy;
}

function showProgress(text, isError = false) {
  show("answer");
  setText("progress", text);
  byId("progress").classList.toggle("problem-line", isError);
}

function showWords(headers) {
  const words = {
    "It heard": headers.get("avatar-transcript"),
    "It said": headers.get("avatar-reply"),
    "Models": headers.get("avatar-models"),
  };
  const items = Object.entries(words).filter(([, encoded]) => encoded);
  byId("words").replaceChildren(
    ...items.flatMap(([name, encoded]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: decodeURIComponent(encoded) }),
    ]),
  );
}

async function request(path, body, contentType) {
  setBusy(true);
  show("file-video", false);
  byId("words").replaceChildren();
  showProgress("Making the video …");
  const started = performance.now();
  try {
    const response = await fetch(path, {
      method: "POST",
      body,
      headers: { ...entrance(), "content-type": contentType },
    });
    if (response.status === 401 && (await askForKey())) {
      await request(path, body, contentType);
      return;
    }
    if (!response.ok) {
      const problem = await response.json().catch(() => ({ detail: response.statusText }));
      showProgress(problem.detail, true);
      return;
    }
    const video = byId("file-video");
    URL.revokeObjectURL(video.src);
    video.src = URL.createObjectURL(await response.blob());
    show(video);
    showWords(response.headers);
    showProgress(`Done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
    await video.play().catch(() => {}); // a browser may want a click first
  } catch {
    showProgress("The server cannot be reached; is `make run` still running?", true);
  } finally {
    setBusy(false);
  }
}
