// Questions as dialogs: a link with data-dialog leads to a page, whose part "dialog" is shown here.
// Without scripts the page itself asks.

export function toast(text, tone = "good") {
  const note = document.createElement("div");
  note.className = `notice notice-${tone} pointer-events-auto shadow-lg`;
  note.textContent = text;
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}

async function open(link) {
  const dialog = document.getElementById("dialog");
  const url = new URL(link.href);
  url.searchParams.set("part", "dialog");
  const answer = await fetch(url);
  if (!answer.ok) {
    location.href = link.href;
    return;
  }
  dialog.innerHTML = await answer.text();
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      dialog.close();
    });
  }
  dialog.showModal();
}

export function startDialogs() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(link).catch(() => { location.href = link.href; });
  });
  document.getElementById("dialog").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) event.currentTarget.close();
  });
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    const said = xhr.getResponseHeader("content-type")?.startsWith("text/plain") ? xhr.responseText : "";
    if (!event.target.closest("[data-live]")) toast(said || xhr.statusText || String(xhr.status), "bad");
  });
}
