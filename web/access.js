// The key that a server may ask for: kept in this tab, and nowhere else.

import { forgetKey, keepKey, keptKey } from "./memory.js";
import { byId, openDialog, setText, show } from "./ui.js";

/** Headers that show the key, if there is one. */
export const entrance = () => (keptKey() ? { authorization: `Bearer ${keptKey()}` } : {});

/** Takes a key or token out of an address that ends in #key=…, so that nobody copies it along. */
export function takeKeyFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!found) return;
  keepKey(found);
  history.replaceState(null, "", location.pathname);
}

/** Asks for a key after one was missing or refused; false where nobody gave one. */
export function askForKey() {
  const dialog = byId("access");
  const field = byId("access-key");
  show("access-problem", Boolean(keptKey()));
  setText("access-problem", "The server does not know this key, or it has run out.");
  forgetKey();
  field.value = "";
  openDialog(dialog);
  return new Promise((resolve) => {
    const given = (event) => {
      event.preventDefault(); // it goes with the next call, not by a form
      keepKey(field.value.trim());
      dialog.close();
    };
    byId("access-form").addEventListener("submit", given);
    dialog.addEventListener(
      "close",
      () => {
        byId("access-form").removeEventListener("submit", given);
        resolve(Boolean(keptKey()));
      },
      { once: true },
    );
  });
}
