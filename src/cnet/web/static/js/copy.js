// Buttons with data-copy="<id>" copy the text of that element.

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // pages that did not come over TLS or from this machine have no clipboard
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function startCopy() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    await copy(document.getElementById(button.dataset.copy).textContent);
    button.dataset.done = "";
    setTimeout(() => delete button.dataset.done, 1500);
  });
}
