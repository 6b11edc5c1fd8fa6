// A log as it is written: [data-log="<workload>"], with search, wrapping and following.
//
// It comes as a stream; where none gets through, what there is is asked for every few seconds.

const KEPT = 5000; // lines in the page; the file has the rest
const PAUSE_MS = 2000;
const SILENT_MS = 5000; // a stream that has brought nothing by then may be held up on its way
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b[@-Z\\-_]/g; // colours and cursor moves

class Log {
  constructor(root) {
    this.root = root;
    this.lines = root.querySelector("[data-log-lines]");
    this.search = root.querySelector("[data-log-search]");
    this.following = root.querySelector("[data-log-follow]");
    this.asked = []; // lines that the last question has brought
    this.partial = "";
    this.pending = [];
    this.listen();
    this.read();
  }

  listen() {
    this.search.addEventListener("input", () => this.filter());
    this.following.addEventListener("change", () => this.toEnd());
    this.root.querySelector("[data-log-wrap]").addEventListener("change", (event) => {
      this.lines.classList.toggle("whitespace-pre-wrap", event.target.checked);
      this.lines.classList.toggle("whitespace-pre", !event.target.checked);
    });
    this.lines.addEventListener("wheel", () => {
      requestAnimationFrame(() => { this.following.checked = this.atEnd(); });
    }, { passive: true });
  }

  atEnd() {
    return this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 24;
  }

  toEnd() {
    if (this.following.checked) this.lines.scrollTop = this.lines.scrollHeight;
  }

  say(text) {
    this.root.querySelector("[data-log-state]").textContent = text;
  }

  async read() {
    for (;;) {
      const ended = await this.stream().catch(() => this.ask()).catch(() => null);
      if (ended) {
        this.say(this.root.dataset.textEnd);
        return;
      }
      this.say(ended === null ? this.root.dataset.textRetry : this.root.dataset.textAsked);
      await new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });
    }
  }

  /** Follow it while the stream lasts; whether the log is whole then. Throws where none gets through. */
  async stream() {
    const silence = new AbortController();
    const timer = setTimeout(() => {
      const others = document.documentElement.dataset.stream === "open"; // so this one has nothing to say
      if (!others) silence.abort();
    }, SILENT_MS);
    try {
      const answer = await fetch(`/api/workloads/${this.root.dataset.log}/logs?follow=true&lines=${KEPT}`, { signal: silence.signal });
      if (!answer.ok) throw new Error(answer.statusText);
      const type = answer.headers.get("content-type") ?? "";
      if (type.startsWith("application/json")) { // a kind that leaves no output
        this.show((await answer.json()).logs);
        return true;
      }
      this.say(this.root.dataset.textLive);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let first = true; ; first = false) {
        const { value, done } = await reader.read();
        clearTimeout(timer);
        if (first) this.show([]);
        if (done) break;
        const parts = (this.partial + value).split("\n");
        this.partial = parts.pop();
        this.add(parts);
      }
      if (this.partial) this.add([this.partial]);
      return (await this.last(1)).ended; // or the agent is going, and another will go on
    } finally {
      clearTimeout(timer);
    }
  }

  /** Show what there is now; whether that is all there will be. */
  async ask() {
    const { lines, ended } = await this.last(KEPT);
    const { asked } = this;
    if (lines === null) return ended; // it is gone
    if (asked.length && asked.every((line, index) => line === lines[index])) this.add(lines.slice(asked.length));
    else this.show(lines);
    this.asked = lines;
    return ended;
  }

  async last(count) {
    const answer = await fetch(`/workloads/${this.root.dataset.log}/log.json?lines=${count}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
  }

  /** These lines instead of those that are there. */
  show(lines) {
    this.lines.replaceChildren();
    this.partial = "";
    this.asked = [];
    this.pending = [];
    this.add(lines);
  }

  add(lines) {
    if (!lines.length) return;
    if (!this.pending.length) requestAnimationFrame(() => this.flush());
    this.pending.push(...lines);
    if (this.pending.length > KEPT) this.pending.splice(0, this.pending.length - KEPT);
  }

  flush() {
    const wanted = this.search.value.toLowerCase();
    const fragment = document.createDocumentFragment();
    for (const text of this.pending) {
      const line = document.createElement("div");
      line.textContent = text.replace(ESCAPES, "").replace(/^.*\r(?!$)/, "") || "\u00a0";
      this.mark(line, wanted);
      fragment.append(line);
    }
    this.pending = [];
    this.lines.append(fragment);
    while (this.lines.childElementCount > KEPT) this.lines.firstElementChild.remove();
    if (wanted) this.count();
    this.toEnd();
  }

  mark(line, wanted) {
    const text = line.textContent;
    const at = wanted ? text.toLowerCase().indexOf(wanted) : -1;
    line.hidden = Boolean(wanted) && at < 0;
    if (at < 0) {
      if (line.childElementCount) line.textContent = text;
      return;
    }
    const found = document.createElement("mark");
    found.className = "rounded-xs bg-warn-soft text-warn";
    found.textContent = text.slice(at, at + wanted.length);
    line.replaceChildren(text.slice(0, at), found, text.slice(at + wanted.length));
  }

  filter() {
    const wanted = this.search.value.toLowerCase();
    for (const line of this.lines.children) this.mark(line, wanted);
    this.count();
    this.toEnd();
  }

  count() {
    const output = this.root.querySelector("[data-log-found]");
    const shown = this.lines.querySelectorAll(":scope > div:not([hidden])").length;
    output.textContent = this.search.value ? this.root.dataset.textFound.replace("{count}", shown) : "";
  }
}

for (const root of document.querySelectorAll("[data-log]")) new Log(root);
