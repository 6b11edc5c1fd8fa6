// The graph of all nodes: trees from above to below, peers by dashed lines, colour by load.
import { onChange } from "./live.js";

const STEP_X = 150;
const STEP_Y = 110;
const FEW = 60; // up to here every node has a labelled box

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Places of all nodes: children below their parent, many leaves of one parent as a block. */
export function places(nodes) {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const below = new Map(nodes.map((node) => [node.id, []]));
  const roots = [];
  for (const node of nodes) {
    if (node.parent !== null && known.has(node.parent) && !isAbove(node.id, node.parent, known)) {
      below.get(node.parent).push(node.id);
    } else roots.push(node.id);
  }
  const found = {};
  let left = 0;
  const alone = (id) => !below.get(id).length;
  for (const root of roots.filter((id) => !alone(id))) left += place(root, left, 0, below, found) + STEP_X / 3;
  for (const root of roots.filter(alone)) { // beside the peer that has a place already
    const peer = known.get(root).peers.find((id) => id in found && !alone(id)) ?? known.get(root).peers.find((id) => id in found);
    left += place(root, left, peer ? found[peer].y : 0, below, found) + STEP_X / 3;
  }
  return found;
}

/** Whether `id` is above `start`: agents that call each other parent must not go round for ever. */
function isAbove(id, start, known) {
  const passed = new Set();
  for (let at = start; at !== null && known.has(at) && !passed.has(at); at = known.get(at).parent) {
    if (at === id) return true;
    passed.add(at);
  }
  return false;
}

function place(id, left, top, below, found) {
  const children = below.get(id);
  const leaves = children.filter((child) => !below.get(child).length);
  const inner = children.filter((child) => below.get(child).length);
  let width = 0;
  for (const child of inner) width += place(child, left + width, top + STEP_Y, below, found);
  const columns = leaves.length <= 8 ? leaves.length : Math.ceil(Math.sqrt(leaves.length * 1.6));
  leaves.forEach((leaf, index) => {
    found[leaf] = {
      x: left + width + ((index % columns) + 0.5) * STEP_X,
      y: top + STEP_Y + Math.floor(index / columns) * STEP_Y * 0.6,
    };
  });
  width = Math.max(STEP_X, width + columns * STEP_X);
  found[id] = { x: left + width / 2, y: top };
  return width;
}

/** How far a line between peers is bent, downwards: it passes below what stands between them. */
function bend(from, to) {
  const across = (to.x - from.x) / STEP_X;
  return from.y === to.y ? Math.sign(across) * (Math.abs(across) < 2 ? 0.01 : 34 * Math.abs(across)) : 30;
}

function elements(nodes, at) {
  const known = new Set(nodes.map((node) => node.id));
  const found = nodes.map((node) => ({ group: "nodes", data: data(node) }));
  const pairs = new Set();
  for (const node of nodes) {
    if (node.parent !== null && known.has(node.parent)) {
      found.push({ group: "edges", data: { id: `${node.id}\n${node.parent}`, source: node.parent, target: node.id } });
    }
    for (const peer of node.peers) {
      const [one, other] = [node.id, peer].sort();
      const id = `${one}\n\n${other}`;
      if (known.has(peer) && !pairs.has(id)) {
        pairs.add(id);
        found.push({ group: "edges", data: { id, source: one, target: other, peer: 1, bend: bend(at[one], at[other]) } });
      }
    }
  }
  return found;
}

function data(node) {
  const tone = node.status === "unreachable" ? "lost" : node.load >= 95 ? "full" : node.load >= 80 ? "high" : "low";
  return { id: node.id, label: `${node.id}\n${node.load} %`, tone, own: node.self ? 1 : 0, draining: node.status === "draining" ? 1 : 0 };
}

function style(many) {
  const tones = [["low", "--accent", "--accent-soft"], ["high", "--warn", "--warn-soft"], ["full", "--bad", "--bad-soft"], ["lost", "--line-strong", "--sunken"]];
  const box = many
    ? { shape: "ellipse", width: 26, height: 26, "text-valign": "bottom", "text-margin-y": 4, "min-zoomed-font-size": 9 }
    : { shape: "round-rectangle", width: 118, height: 46, "text-valign": "center" };
  return [
    { selector: "node", style: { ...box, label: "data(label)", "text-halign": "center", "text-wrap": "wrap", "text-max-width": 112, "font-size": 12, "line-height": 1.35, "font-family": "Inter, system-ui, sans-serif", color: colour("--ink"), "border-width": 1.5 } },
    ...tones.map(([tone, line, fill]) => ({ selector: `node[tone = "${tone}"]`, style: { "border-color": colour(line), "background-color": colour(many && tone !== "lost" ? line : fill) } })),
    { selector: 'node[tone = "lost"]', style: { "border-style": "dashed", color: colour("--muted") } },
    { selector: "node[?draining]", style: { "border-style": "double", "border-width": 4 } },
    { selector: "node[?own]", style: { "border-width": 3, "font-weight": 600 } },
    { selector: "edge", style: { width: 1.5, "line-color": colour("--line-strong"), "curve-style": many ? "haystack" : "bezier", opacity: 0.7 } },
    { selector: "edge[?peer]", style: { "line-style": "dashed", "curve-style": many ? "haystack" : "unbundled-bezier", "control-point-distances": (edge) => [edge.data("bend")], "control-point-weights": [0.5] } },
    { selector: ":active", style: { "overlay-opacity": 0.08 } },
  ];
}

class Graph {
  constructor(container) {
    this.container = container;
    this.shape = "";
    this.asking = false;
    this.again = false;
    this.drawn = window.cytoscape({
      container, elements: [], style: style(false), minZoom: 0.03, maxZoom: 2,
      autoungrabify: true, boxSelectionEnabled: false,
    });
    this.drawn.on("tap", "node", (event) => { location.href = `/nodes/${encodeURIComponent(event.target.id())}`; });
    for (const button of document.querySelectorAll("[data-graph]")) {
      button.addEventListener("click", () => this.zoom(button.dataset.graph));
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawn.style(style(this.many)));
    onChange((topics) => {
      if (topics === null || topics.has("nodes") || topics.has("room")) this.ask();
    });
    this.ask();
  }

  zoom(what) {
    if (what === "fit") this.fit();
    else {
      const middle = { x: this.container.clientWidth / 2, y: this.container.clientHeight / 2 };
      this.drawn.zoom({ level: this.drawn.zoom() * (what === "in" ? 1.3 : 1 / 1.3), renderedPosition: middle });
    }
  }

  fit() {
    this.drawn.fit(undefined, 30);
    if (this.drawn.zoom() > 1.2) {
      this.drawn.zoom(1.2);
      this.drawn.center();
    }
  }

  async ask() {
    if (this.asking || document.hidden) {
      this.again = true;
      return;
    }
    this.asking = true;
    this.again = false;
    const begun = performance.now();
    try {
      const answer = await fetch("/topology/graph.json");
      if (answer.ok) this.show(await answer.json());
    } catch { // the agent is away: the next change, or the next look, asks again
      this.again = true;
    }
    setTimeout(() => {
      this.asking = false;
      if (this.again) this.ask();
    }, Math.max(150, 2 * (performance.now() - begun)));
  }

  show(nodes) {
    const shape = JSON.stringify(nodes.map((node) => [node.id, node.parent, node.peers]));
    if (shape === this.shape) {
      this.drawn.batch(() => {
        for (const node of nodes) {
          const element = this.drawn.getElementById(node.id);
          const now = data(node);
          if (Object.entries(now).some(([key, value]) => element.data(key) !== value)) element.data(now);
        }
      });
      return;
    }
    const first = this.shape === "";
    this.shape = shape;
    this.many = nodes.length > FEW;
    const at = places(nodes);
    this.drawn.batch(() => {
      this.drawn.elements().remove();
      this.drawn.add(elements(nodes, at));
    });
    this.drawn.style(style(this.many));
    this.drawn.layout({ name: "preset", positions: at, fit: false }).run();
    if (first) this.fit();
    this.container.dataset.nodes = nodes.length;
  }
}

const graph = new Graph(document.getElementById("graph"));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && graph.again) graph.ask();
});
