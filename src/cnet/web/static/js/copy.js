// <button data-copy="<id>" data-copied="…">: the text of that element goes to the clipboard.

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText("value" in source ? source.value : source.textContent);
  } catch { // no permission, or no TLS beyond loopback
    getSelection().selectAllChildren(source);
    if (!document.execCommand("copy")) return;
  }
  const label = button.querySelector("span");
  const before = label.textContent;
  label.textContent = button.dataset.copied;
  button.dataset.done = "";
  setTimeout(() => {
    label.textContent = before;
    delete button.dataset.done;
  }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
