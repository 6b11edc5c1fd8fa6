// <button data-copy="<id>" data-copied="…">: the text of that element goes to the clipboard.

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const text = "value" in source ? source.value : source.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no permission, or no TLS beyond loopback
      getSelection().selectAllChildren(source);
      if (!document.execCommand("copy")) return;
    }
    const label = button.querySelector("span");
    const before = label.textContent;
    label.textContent = button.dataset.copied;
    setTimeout(() => { label.textContent = before; }, 1500);
  });
}
