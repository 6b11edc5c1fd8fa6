// A terminal in a workload: [data-terminal="<path>"] over the WebSocket of docs/api.md, "Exec".
// Where no WebSocket gets through, the form is sent as it is without scripts.

const root = document.querySelector("[data-terminal]");
const screen = root.querySelector("[data-terminal-screen]");
const form = root.querySelector("form");
const state = root.querySelector("[data-terminal-state]");

/** xterm writes into <style> elements, which the policy forbids; sheets of scripts it allows. */
function adoptStyles() {
  const create = document.createElement.bind(document);
  document.createElement = (name, ...rest) => {
    const element = create(name === "style" ? "template" : name, ...rest);
    if (name === "style") {
      const sheet = new CSSStyleSheet();
      document.adoptedStyleSheets.push(sheet);
      Object.defineProperty(element, "textContent", { set: (css) => sheet.replaceSync(css), get: () => "" });
    }
    return element;
  };
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

async function open(command) {
  adoptStyles();
  const [{ Terminal }, { FitAddon }] = await Promise.all([
    import("../vendor/xterm.js"), import("../vendor/xterm-fit.js"),
  ]);
  const terminal = new Terminal({
    fontSize: 13, fontFamily: getComputedStyle(document.querySelector("code, pre, .font-mono") ?? screen).fontFamily,
    theme: { background: colour("--sunken"), foreground: colour("--ink"), cursor: colour("--accent"), selectionBackground: colour("--accent-soft") },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  screen.replaceChildren();
  screen.hidden = false;
  terminal.open(screen);
  fit.fit();
  converse(terminal, fit, command);
}

function converse(terminal, fit, command) {
  const socket = new WebSocket(new URL(root.dataset.terminal, location.href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  const size = () => ({ columns: terminal.cols, rows: terminal.rows });
  const encoder = new TextEncoder();
  const watching = new ResizeObserver(() => fit.fit());
  let opened = false;
  socket.addEventListener("open", () => {
    opened = true;
    socket.send(JSON.stringify({ command, tty: true, stdin: true, size: size(), env: { TERM: "xterm-256color" } }));
    terminal.onData((text) => socket.readyState === WebSocket.OPEN && socket.send(encoder.encode(text)));
    terminal.onResize(() => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ size: size() })));
    watching.observe(screen);
    terminal.focus();
  });
  socket.addEventListener("message", (event) => {
    if (typeof event.data !== "string") {
      terminal.write(new Uint8Array(event.data).subarray(1));
      return;
    }
    const said = JSON.parse(event.data);
    if (said.started) state.textContent = root.dataset.textOpen;
    else if ("exit_code" in said) state.textContent = root.dataset.textEnded.replace("{code}", said.exit_code);
    else if (said.error) state.textContent = said.details;
  });
  socket.addEventListener("close", () => {
    watching.disconnect();
    form.hidden = false;
    if (!opened && document.getElementById("lost").hidden) form.submit(); // nothing has been run yet
    else if (!opened || state.textContent === root.dataset.textOpen) state.textContent = root.dataset.textLost;
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  form.hidden = true;
  state.textContent = root.dataset.textOpening;
  open(form.elements.command.value).catch((error) => {
    form.hidden = false;
    state.textContent = String(error);
  });
});
