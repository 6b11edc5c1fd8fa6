// Trying a model: a picture with the boxes that were found drawn on it, or tensors as JSON.
import "./copy.js";

const root = document.getElementById("try");
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;
const LABEL_PX = 13;
const element = (id) => document.getElementById(id);
const write = (id, text) => { element(`text-${id}`).textContent = text; };

function pretty(value) {
  // Lists of plain numbers stay on one line: boxes and rows are read that way.
  return JSON.stringify(value, null, 2).replace(/\[\s+([^[\]{}]*?)\s+\]/g, (_, inner) => `[${inner.replace(/\s*\n\s*/g, " ")}]`);
}

function fault(text) {
  element("fault").textContent = text;
  element("fault").hidden = !text;
}

const credentials = () => ("token" in root.dataset ? ' -H "Authorization: Bearer $CNET_TOKEN"' : "");

/** Ask the service; shows the answer, how long it took, or what is wrong. Null where it failed. */
async function ask(path, options) {
  const begun = performance.now();
  element("timing").textContent = root.dataset.waiting;
  let answer;
  let body;
  try {
    answer = await fetch(root.dataset.url + path, options);
    body = await answer.json();
  } catch {
    element("timing").textContent = "";
    if (!options?.signal?.aborted) fault(element("lost").textContent.trim());
    return null;
  }
  const took = performance.now() - begun;
  write("answer", pretty(body));
  element("timing").textContent = root.dataset.answered.replace("{ms}", took.toFixed(0));
  fault(answer.ok ? "" : body.details ?? body.error ?? String(answer.status));
  return answer.ok ? body : null;
}

async function showInfo() {
  try {
    const answer = await fetch(`${root.dataset.url}/info`);
    const info = await answer.json();
    write("info", pretty(info));
    if (!answer.ok) fault(info.details ?? "");
    return answer.ok ? info : null;
  } catch {
    return null;
  }
}

// --- pictures ------------------------------------------------------------------------------------

function startPictures() {
  const slider = element("threshold");
  const parameter = slider.dataset.parameter;
  const colours = new Map();
  let file = null;
  let found = null;
  let pending = null;

  const label = (each) => each.class ?? each.type ?? "?";
  const passes = (each) => each.confidence === undefined || each.confidence >= Number(slider.value);
  const caption = (each) => label(each) + (each.confidence === undefined ? "" : ` ${Math.round(each.confidence * 100)} %`);
  const colour = (each) => {
    if (!colours.has(label(each))) colours.set(label(each), colours.size % COLOURS);
    return `box-${colours.get(label(each))}`;
  };

  function draw() {
    const boxes = element("boxes");
    const list = element("found");
    boxes.replaceChildren();
    list.replaceChildren();
    if (!found) return;
    const { width, height } = found.image;
    const scale = width / Math.max(1, element("picture").clientWidth);
    boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    for (const each of found.detections.filter(passes)) {
      const [x, y, w, h] = each.bbox;
      const group = document.createElementNS(SVG, "g");
      group.setAttribute("class", colour(each));
      const size = LABEL_PX * scale;
      const high = size * 1.5;
      const top = y >= high ? y - high : y;
      const rect = shape("rect", { x, y, width: w, height: h, class: "box-frame" });
      const text = shape("text", { x: x + size * 0.35, y: top + size * 1.1, "font-size": size, class: "box-text" });
      text.textContent = caption(each);
      const plate = shape("rect", { x, y: top, height: high, class: "box-plate" });
      group.append(rect, plate, text);
      boxes.append(group);
      const wide = text.getComputedTextLength() + size * 0.7;
      const left = Math.max(0, Math.min(x, width - wide)); // inside the picture
      plate.setAttribute("width", wide);
      plate.setAttribute("x", left);
      text.setAttribute("x", left + size * 0.35);
      const item = document.createElement("li");
      item.className = `tag ${colour(each)}`;
      item.textContent = caption(each);
      list.append(item);
    }
    if (!list.children.length) {
      const item = document.createElement("li");
      item.className = "text-sm text-muted";
      item.textContent = root.dataset.nothing;
      list.append(item);
    }
  }

  function shape(name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function showCurl() {
    const type = file?.type || "image/jpeg";
    const name = file ? `'${file.name.replaceAll("'", "'\\''")}'` : "PICTURE.jpg";
    write("curl", `curl${credentials()} -H 'Content-Type: ${type}' --data-binary @${name} '${root.dataset.base}${root.dataset.url}/predict?${parameter}=${slider.value}'`);
    element("threshold-value").textContent = slider.value;
  }

  async function predict() {
    showCurl();
    if (!file) return;
    pending?.abort();
    pending = new AbortController();
    const answer = await ask(`/predict?${parameter}=${slider.value}`, {
      method: "POST", body: file, headers: { "Content-Type": file.type || "application/octet-stream" }, signal: pending.signal,
    });
    if (answer) {
      found = answer;
      draw();
    }
  }

  watchPicture(root.querySelector("[data-drop]"), (chosen) => {
    file = chosen;
    found = null;
    const picture = element("picture");
    URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    picture.onload = draw;
    element("stage").classList.remove("hidden");
    element("invitation").hidden = true;
    predict();
  });
  slider.addEventListener("input", () => { showCurl(); draw(); }); // at once, by what is known
  slider.addEventListener("change", predict);
  new ResizeObserver(draw).observe(element("picture"));
  showCurl();
}

function watchPicture(zone, take) {
  const pick = (files) => { if (files[0]) take(files[0]); };
  const input = zone.querySelector("input");
  input.addEventListener("change", () => pick(input.files));
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.dataset.over = ""; });
  zone.addEventListener("dragleave", () => delete zone.dataset.over);
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    delete zone.dataset.over;
    pick(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => pick(event.clipboardData.files));
  pick(input.files); // chosen before this script ran, or kept by the browser over a reload
}

// --- tensors -------------------------------------------------------------------------------------

/** A request that the model will take, by what it says of its inputs: zeros of the right shape. */
function example(info) {
  const zeros = ([size, ...rest], value) => (size === undefined ? value : Array.from({ length: size > 0 ? size : 1 }, () => zeros(rest, value)));
  const inputs = {};
  for (const each of info?.inputs ?? []) {
    const datatype = String(each.datatype ?? each.type ?? "");
    const value = datatype === "BYTES" || datatype.includes("string") ? "" : datatype === "BOOL" || datatype.includes("bool") ? false : 0;
    const shape = (each.shape ?? [1, 1]).map((size) => (Number.isInteger(size) ? size : -1));
    const count = shape.reduce((product, size) => product * Math.max(1, size), 1);
    inputs[each.name] = count > 4096 ? [] : zeros(shape, value);
  }
  return { inputs: Object.keys(inputs).length ? inputs : [] };
}

async function startTensors() {
  const area = element("inputs");
  const showCurl = () => write("curl", `curl${credentials()} -H 'Content-Type: application/json' --data-binary @- '${root.dataset.base}${root.dataset.url}/predict' <<'EOF'\n${area.value}\nEOF`);
  area.addEventListener("input", showCurl);
  element("predict").addEventListener("click", async () => {
    try {
      JSON.parse(area.value);
    } catch (error) {
      fault(error.message);
      area.focus();
      return;
    }
    await ask("/predict", { method: "POST", body: area.value, headers: { "Content-Type": "application/json" } });
  });
  const info = await showInfo();
  if (!area.value) area.value = pretty(example(info));
  showCurl();
}

if (root.dataset.mode === "picture") {
  startPictures();
  showInfo();
} else {
  startTensors();
}
