// The forms of /submit: fields that count only with others, uploads, the first fault in sight.
import { showWhatCounts } from "./conditions.js";
import "./copy.js";
import { toast } from "./dialogs.js";
import { progressIn, upload, watchZone } from "./upload.js";

const root = document.getElementById("submit");
const chosen = {};

// What the reader has opened or closed stays so when the form comes anew with its faults.
window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node, how) => {
  if (name !== "open" || node.tagName !== "DETAILS") return true;
  return how !== "remove" && !node.closest("#code");
};

function watchZones() {
  for (const zone of root.querySelectorAll("[data-drop]")) {
    if (zone.dataset.watched) continue;
    zone.dataset.watched = "yes";
    watchZone(zone, (choice) => { chosen[zone.dataset.drop] = choice; });
  }
}

async function send(ready) {
  const fields = JSON.parse(ready.dataset.fields);
  ready.remove();
  const zone = root.querySelector("[data-drop]:not([hidden] *)");
  const choice = chosen[zone.dataset.drop];
  if (!choice || choice.files.length === 0) {
    zone.querySelector("label").focus();
    toast(zone.textContent.trim().split("\n")[0], "warn");
    return;
  }
  const place = document.getElementById("upload-progress");
  try {
    const answer = await upload({ ...choice, tree: "tree" in zone.dataset || choice.tree }, fields, progressIn(place));
    location.href = `/data/objects/${encodeURIComponent(answer.data_key)}`;
  } catch (error) {
    place.replaceChildren();
    toast(error.message, "bad");
  }
}

document.addEventListener("change", () => showWhatCounts(root));
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target !== root) return;
  showWhatCounts(root);
  watchZones();
  const fault = root.querySelector("[aria-invalid=true]");
  fault?.closest("details")?.setAttribute("open", "");
  fault?.focus();
  const ready = document.getElementById("upload-ready");
  if (ready) send(ready);
});
watchZones();
