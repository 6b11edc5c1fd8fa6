// A log as it is written: [data-log="<address>"], with search, wrapping and following.

const KEPT = 5000; // lines in the page; the file has the rest
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b[@-Z\\-_]/g; // colours and cursor moves

class Log {
  constructor(root) {
    this.root = root;
    this.lines = root.querySelector("[data-log-lines]");
    this.search = root.querySelector("[data-log-search]");
    this.following = root.querySelector("[data-log-follow]");
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
      try {
        await this.stream();
        this.say(this.root.dataset.textEnd);
        return;
      } catch {
        this.say(this.root.dataset.textRetry);
        await new Promise((resolve) => { setTimeout(resolve, 2000); });
      }
    }
  }

  async stream() {
    const answer = await fetch(`${this.root.dataset.log}?follow=true&lines=${KEPT}`);
    if (!answer.ok) throw new Error(answer.statusText);
    this.lines.replaceChildren();
    this.partial = "";
    const type = answer.headers.get("content-type") ?? "";
    if (type.startsWith("application/json")) { // a kind that leaves no output
      this.add((await answer.json()).logs);
      return;
    }
    this.say(this.root.dataset.textLive);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (this.partial + value).split("\n");
      this.partial = parts.pop();
      this.add(parts);
    }
    if (this.partial) this.add([this.partial]);
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
