// Charts of what a run uses: [data-usage="<address>"] is asked every two seconds while it is shown.

const EVERY_MS = 2000;
const KEPT = 300; // ten minutes
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < UNITS.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes >= 100 || Number.isInteger(bytes) ? bytes.toFixed(0) : bytes.toFixed(1)} ${UNITS[unit]}`;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function chart(element, show, limit) {
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const options = {
    width: element.clientWidth, height: element.clientHeight,
    legend: { show: false }, cursor: { show: false },
    scales: { x: { time: true }, y: { range: (_u, _low, high) => [0, Math.max(limit || 0, high * 1.1, 0.05)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 90, size: 26, values: "{HH}:{mm}:{ss}" },
      { ...axis, size: 58, space: 34, values: (_u, values) => values.map(show) },
    ],
    series: [{}, { stroke: colour("--accent"), width: 1.5, fill: `${colour("--accent")}22`, points: { show: false } }],
  };
  if (limit) {
    options.hooks = { draw: [(u) => { // what it holds
      const y = u.valToPos(limit, "y", true);
      u.ctx.save();
      u.ctx.strokeStyle = colour("--warn");
      u.ctx.setLineDash([4, 4]);
      u.ctx.beginPath();
      u.ctx.moveTo(u.bbox.left, y);
      u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
      u.ctx.stroke();
      u.ctx.restore();
    }] };
  }
  const drawn = new window.uPlot(options, [[], []], element);
  new ResizeObserver(() => drawn.setSize({ width: element.clientWidth, height: element.clientHeight })).observe(element);
  return drawn;
}

class Usage {
  constructor(element) {
    this.element = element;
    this.samples = { at: [], cpu: [], memory: [] };
    this.before = null;
    const cores = element.querySelector("[data-chart=cpu]");
    const memory = element.querySelector("[data-chart=memory]");
    this.charts = {
      cpu: chart(cores, (value) => value.toFixed(2), Number(element.dataset.cpu)),
      memory: chart(memory, size, Number(element.dataset.memory)),
    };
    this.ask();
  }

  async ask() {
    if (!this.element.isConnected) return;
    if (!document.hidden) await this.sample().catch(() => {});
    setTimeout(() => this.ask(), EVERY_MS);
  }

  async sample() {
    const answer = await fetch(this.element.dataset.usage);
    const said = await answer.json();
    const note = this.element.querySelector("[data-usage-note]");
    note.hidden = "cpu_s" in said;
    if (!note.hidden) {
      note.textContent = said.details;
      return;
    }
    const at = Date.parse(said.at) / 1000;
    const before = this.before;
    this.before = { at, cpu: said.cpu_s };
    if (before === null || at <= before.at || said.cpu_s < before.cpu) return;
    this.add(at, (said.cpu_s - before.cpu) / (at - before.at), said.rss_bytes);
  }

  add(at, cpu, memory) {
    const { samples } = this;
    samples.at.push(at);
    samples.cpu.push(cpu);
    samples.memory.push(memory);
    for (const values of Object.values(samples)) {
      if (values.length > KEPT) values.shift();
    }
    this.charts.cpu.setData([samples.at, samples.cpu]);
    this.charts.memory.setData([samples.at, samples.memory]);
    this.element.querySelector("[data-value=cpu]").textContent = cpu.toFixed(2);
    this.element.querySelector("[data-value=memory]").textContent = size(memory);
  }
}

const known = new WeakSet();

function look() {
  for (const element of document.querySelectorAll("[data-usage]")) {
    if (known.has(element)) continue;
    known.add(element);
    new Usage(element);
  }
}

look();
document.addEventListener("htmx:afterSwap", look);
