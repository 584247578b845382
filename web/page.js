// The page of the gateway: choose a character, send a text or a question, see the video.

const byId = (id) => document.getElementById(id);
const element = (name, properties) => Object.assign(document.createElement(name), properties);

const READY_POLL_MS = 1000;

async function followReadiness() {
  for (;;) {
    let problem = { detail: "the server does not answer" };
    try {
      const response = await fetch("/readyz", { cache: "no-store" });
      if (response.ok) {
        byId("state").textContent = "Ready.";
        return;
      }
      problem = await response.json();
    } catch {
      // said below, and asked again
    }
    byId("state").textContent = `Not ready yet: ${problem.detail}.`;
    await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  }
}

async function showCast() {
  const cast = await (await fetch("/v1/avatars")).json();
  for (const [index, character] of cast.entries()) {
    const label = element("label", { className: "character", title: character.description });
    const radio = element("input", { type: "radio", name: "avatar", value: character.id });
    radio.checked = index === 0;
    const picture = element("img", { src: character.portrait, alt: character.description });
    picture.addEventListener("error", () => picture.removeAttribute("src"));
    label.append(picture, radio, element("strong", { textContent: character.display_name }));
    byId("cast").append(label);
  }
}

const chosen = () => document.querySelector("input[name=avatar]:checked")?.value ?? "";

function setBusy(isBusy) {
  byId("say").disabled = isBusy;
  byId("ask").disabled = isBusy;
}

function showProgress(text, isError = false) {
  byId("answer").hidden = false;
  byId("progress").textContent = text;
  byId("progress").classList.toggle("error", isError);
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
  byId("video").hidden = true;
  byId("words").replaceChildren();
  showProgress("Making the video …");
  const started = performance.now();
  try {
    const response = await fetch(path, {
      method: "POST",
      body,
      headers: { "content-type": contentType },
    });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({ detail: response.statusText }));
      showProgress(problem.detail, true);
      return;
    }
    const video = byId("video");
    URL.revokeObjectURL(video.src);
    video.src = URL.createObjectURL(await response.blob());
    video.hidden = false;
    showWords(response.headers);
    showProgress(`Done in ${((performance.now() - started) / 1000).toFixed(1)} s.`);
    await video.play().catch(() => {});  // a browser may want a click first
  } catch {
    showProgress("The server cannot be reached; is `make run` still running?", true);
  } finally {
    setBusy(false);
  }
}

byId("talk").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = JSON.stringify({ avatar: chosen(), text: byId("text").value });
  request("/v1/say", body, "application/json");
});

byId("ask").addEventListener("click", () => {
  const [file] = byId("question").files;
  if (file === undefined) {
    showProgress("Choose a file first.", true);
    return;
  }
  request(`/v1/ask?avatar=${encodeURIComponent(chosen())}`, file, file.type || "application/octet-stream");
});

followReadiness();
showCast().catch(() => showProgress("The characters could not be loaded; reload the page.", true));
