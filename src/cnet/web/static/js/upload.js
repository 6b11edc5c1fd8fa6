// Files from a drop zone or a file dialog, sent as one form to the agent with progress.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function size(bytes) {
  let unit = 0;
  while (bytes >= 1024 && unit < SIZES.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes >= 100 || Number.isInteger(bytes) ? bytes.toFixed(0) : bytes.toFixed(1)} ${SIZES[unit]}`;
}

/** Every file below a dropped entry, as {path, file}. */
async function below(entry, path) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ path: path + entry.name, file }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives at most a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return found;
    for (const each of some) found.push(...await below(each, `${path}${entry.name}/`));
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return plain(transfer.files); // no folder can be among them
  const tree = entries.length > 1 || entries.some((entry) => entry.isDirectory);
  const lists = [];
  for (const entry of entries) lists.push(...await below(entry, ""));
  return { tree, files: inside(lists, entries.length === 1) };
}

const plain = (files) => ({ tree: files.length > 1, files: [...files].map((file) => ({ path: file.name, file })) });

/** The paths in the object: the folder that was chosen is the object itself. */
function inside(list, single) {
  const nested = single && list.every(({ path }) => path.includes("/"));
  return nested ? list.map(({ path, file }) => ({ path: path.slice(path.indexOf("/") + 1), file })) : list;
}

function chosen(input) {
  const tree = input.webkitdirectory || input.files.length > 1;
  const list = [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  return { tree, files: input.webkitdirectory ? inside(list, true) : list };
}

/** Call `take({tree, files})` for whatever is dropped on or chosen in a zone. */
export function watchZone(zone, take) {
  const told = (choice) => {
    const total = choice.files.reduce((sum, { file }) => sum + file.size, 0);
    const first = choice.files[0]?.path ?? "";
    const more = choice.files.length > 1 ? ` + ${choice.files.length - 1}` : "";
    zone.querySelector("[data-chosen]").textContent = choice.files.length ? `${first}${more} · ${size(total)}` : "";
    take(choice);
  };
  for (const input of zone.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => told(chosen(input)));
    if (input.files.length) told(chosen(input)); // before this script ran, or kept over a reload
  }
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.dataset.over = "";
  });
  zone.addEventListener("dragleave", () => delete zone.dataset.over);
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    delete zone.dataset.over;
    told(await dropped(event.dataTransfer));
  });
}

/** Send it; resolves with the agent's answer, rejects with an Error whose message is for people. */
export function upload({ tree, files }, fields, progress) {
  const form = new FormData();
  for (const [name, text] of Object.entries(fields)) if (text) form.append(name, text);
  for (const { path, file } of files) form.append(tree ? "files" : "file", file, path);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/workloads");
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    request.addEventListener("load", () => {
      if (request.status < 400) resolve(request.response);
      else reject(new Error(request.response?.details ?? request.statusText));
    });
    request.addEventListener("error", () => reject(new Error(document.getElementById("lost").textContent.trim())));
    request.send(form);
  });
}

/** Shows how far an upload is in an element: a bar and figures. */
export function progressIn(element) {
  const bar = document.createElement("progress");
  const text = document.createElement("span");
  bar.max = 1;
  bar.setAttribute("aria-label", element.dataset.label ?? "");
  element.replaceChildren(bar, text);
  return (done, total) => {
    bar.value = total ? done / total : 0;
    text.textContent = `${size(done)} / ${size(total)}`;
  };
}
