// What every page needs: fresh regions, times, dialogs, the small menu.
import { startLive } from "./live.js";
import { startTimes } from "./times.js";
import { startDialogs } from "./dialogs.js";

function startMenu() {
  for (const button of document.querySelectorAll("[data-toggle]")) {
    const target = document.getElementById(button.dataset.toggle);
    target.dataset.closed = "";
    button.addEventListener("click", () => {
      const open = target.toggleAttribute("data-closed");
      button.setAttribute("aria-expanded", String(!open));
    });
  }
}

startMenu();
startTimes();
startDialogs();
startLive();
