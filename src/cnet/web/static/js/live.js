// Keeps elements with data-live="<topics>" up to date.
//
// The agent says over /live which topics have changed; an element that depends on one of them asks
// for its content again (its own hx-get). Where the stream does not get through, elements ask every
// few seconds. Where the agent does not answer at all, the notice #lost says so until it does.

const QUIET_MS = 25000; // the agent says something every 10 s
const PROBE_MS = 2000;
const PAUSE_MS = 120; // between two updates of one element, at least

const states = new WeakMap();
const listeners = new Set();
let stream = null;
let heardAt = 0;
let connected = false;
let version = null;

/** Call `listener(topics)` after each change; `topics` is null when anything may have changed. */
export function onChange(listener) {
  listeners.add(listener);
}

function concerns(element, topics) {
  if (topics === null) return true;
  const wanted = element.dataset.live.split(" ");
  return wanted.some((topic) => topics.has(topic)
    || (topic.startsWith("workload:") && topics.has("workload:*")));
}

function refresh(element) {
  const state = states.get(element) ?? { busy: false, again: false };
  states.set(element, state);
  if (state.busy || document.hidden) {
    state.again = true;
    return;
  }
  state.busy = true;
  state.again = false;
  const begun = performance.now();
  const done = () => {
    element.removeEventListener("htmx:afterRequest", done);
    const pause = Math.max(PAUSE_MS, performance.now() - begun); // slow answers, slower asking
    setTimeout(() => {
      state.busy = false;
      if (state.again && element.isConnected) refresh(element);
    }, pause);
  };
  element.addEventListener("htmx:afterRequest", done);
  element.dispatchEvent(new CustomEvent("live"));
}

function tell(topics) {
  for (const element of document.querySelectorAll("[data-live]")) {
    if (concerns(element, topics)) refresh(element);
  }
  for (const listener of listeners) listener(topics);
}

function show(lost) {
  document.getElementById("lost").hidden = !lost;
}

function connect() {
  stream?.close();
  stream = new EventSource("/live");
  stream.addEventListener("hello", (event) => {
    heardAt = performance.now();
    const said = JSON.parse(event.data);
    if (version !== null && said.version !== version) {
      location.reload(); // another CNET answers now
      return;
    }
    // Something may have happened since the page was made, or since the stream broke.
    const missed = version !== null || said.mark !== document.body.dataset.mark;
    version = said.version;
    connected = true;
    show(false);
    document.documentElement.dataset.stream = "open";
    if (missed) tell(null);
  });
  stream.addEventListener("beat", () => { heardAt = performance.now(); });
  stream.addEventListener("changed", (event) => {
    heardAt = performance.now();
    tell(new Set(JSON.parse(event.data).topics));
  });
  stream.addEventListener("error", () => {
    if (connected) setTimeout(probe, 300);
    connected = false;
    document.documentElement.dataset.stream = "closed";
  });
}

async function probe() {
  if (connected && performance.now() - heardAt < QUIET_MS) return;
  connected = false;
  try {
    const answer = await fetch("/api/health", { cache: "no-store", signal: AbortSignal.timeout(5000) });
    show(!answer.ok);
    if (answer.ok && !document.hidden) tell(null); // the agent is there, its stream is not
    if (stream.readyState === EventSource.CLOSED || performance.now() - heardAt > QUIET_MS) {
      heardAt = performance.now();
      connect();
    }
  } catch {
    show(true);
    if (stream.readyState === EventSource.CLOSED) connect();
  }
}

export function startLive() {
  // What scripts have drawn (data-keep) is not made anew from the server's empty frame.
  window.Idiomorph.defaults.callbacks.beforeNodeMorphed = (node) => !node.dataset || !("keep" in node.dataset);
  heardAt = performance.now();
  connect();
  setInterval(probe, PROBE_MS);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("[data-live]")) {
      if (states.get(element)?.again) refresh(element);
    }
  });
  window.addEventListener("pagehide", () => stream.close());
}
