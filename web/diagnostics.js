// Diagnostics as text on the clipboard.

import { toast } from "./ui.js";

export async function copyDiagnostics(facts) {
  const text = JSON.stringify(facts, null, 2);
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied. No words, names or addresses are in it.");
  } catch {
    toast("The browser does not let this page copy. The same figures are shown by D.");
  }
}
