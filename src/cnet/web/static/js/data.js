// /data: uploads by hand, and the beginning of text files.
import "./copy.js";
import { toast } from "./dialogs.js";
import { progressIn, upload, watchZone } from "./upload.js";

const SHOWN_BYTES = 64 * 1024;

function startUpload(form) {
  const button = form.querySelector("button:not([type=button])");
  let choice = { files: [] };
  watchZone(form.querySelector("[data-drop]"), (chosen) => {
    choice = chosen;
    button.disabled = choice.files.length === 0;
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = form.elements.data_key.value.trim();
    const place = document.getElementById("upload-progress");
    button.disabled = true;
    try {
      const answer = await upload(choice, { name: key, config: key ? JSON.stringify({ data_key: key }) : "" }, progressIn(place));
      location.href = `/data/objects/${encodeURIComponent(answer.data_key)}`;
    } catch (error) {
      place.replaceChildren();
      toast(error.message, "bad");
    } finally {
      button.disabled = choice.files.length === 0;
    }
  });
}

async function showText(place) {
  const answer = await fetch(place.dataset.text, { headers: { Range: `bytes=0-${SHOWN_BYTES - 1}` } });
  const text = new TextDecoder().decode(await answer.arrayBuffer());
  place.textContent = Number(place.dataset.size) > SHOWN_BYTES ? `${text}\n… ${place.dataset.more}` : text;
}

const form = document.getElementById("upload");
if (form) startUpload(form);
for (const place of document.querySelectorAll("[data-text]")) {
  if (Number(place.dataset.size) > 0) showText(place).catch((error) => { place.textContent = error.message; });
}
