// Before the call: the characters to choose from, as portraits that live.

import * as api from "./api.js";
import { choices, choose } from "./memory.js";
import { byId, element, prefersStillness, setText, show } from "./ui.js";

export class Lobby {
  avatars = [];
  #isReady = false;

  /** `call` is called with the character to call. */
  constructor(call) {
    byId("call-button").addEventListener("click", () => {
      if (this.chosen) call(this.chosen);
    });
  }

  get chosen() {
    const id = document.querySelector("input[name=avatar]:checked")?.value;
    return this.avatars.find((each) => each.id === id) ?? null;
  }

  async load() {
    try {
      this.avatars = await api.avatars();
    } catch {
      setText("cast-problem", "The characters could not be loaded. Reload the page.");
      show("cast-problem");
      return;
    }
    const remembered = choices().avatar;
    const first = this.avatars.find((each) => each.id === remembered) ?? this.avatars[0];
    for (const avatar of this.avatars) byId("cast").append(card(avatar, avatar === first));
    byId("cast").addEventListener("change", () => {
      choose({ avatar: this.chosen.id });
      this.#nameButton();
    });
    this.#nameButton();
  }

  setReady(isReady, models) {
    this.#isReady = isReady;
    this.#nameButton();
    if (models.length > 0) setText("models", `${modelsText(models)} Quick, small, and often wrong.`);
  }

  #nameButton() {
    const name = this.chosen?.display_name ?? "";
    byId("call-button").disabled = !this.#isReady || !this.chosen;
    setText("call-label", this.#isReady ? `Call ${name}` : "Getting ready …");
  }
}

export const modelsText = (models) => `Who speaks: ${models.join("; ")}.`;

function card(avatar, isChosen) {
  const radio = element("input", { type: "radio", name: "avatar", value: avatar.id });
  radio.checked = isChosen;
  const picture = element("span", { className: "portrait" });
  picture.append(element("img", { src: avatar.portrait, alt: "", width: 256, height: 256 }));
  const label = element("label", { className: "character" }, radio, picture);
  label.append(
    element("span", { className: "name", textContent: avatar.display_name }),
    element("span", { className: "about", textContent: avatar.description }),
  );
  if (avatar.preview) animate(label, picture, avatar.preview);
  return label;
}

/** An idle loop over the portrait, as long as nobody asked for stillness. */
async function animate(label, picture, path) {
  if (prefersStillness()) return;
  const video = element("video", { muted: true, loop: true, playsInline: true });
  video.setAttribute("aria-hidden", "true");
  video.src = await api.preview(path).catch(() => "");
  if (!video.src) return;
  video.addEventListener("playing", () => label.classList.add("lives"), { once: true });
  picture.append(video);
  const isWatched = new IntersectionObserver((entries) => {
    // A busy page hears of several crossings at once, the oldest first.
    if (entries.at(-1).isIntersecting) video.play().catch(() => {});
    else video.pause();
  });
  isWatched.observe(video);
}
