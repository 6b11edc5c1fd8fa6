// Style sheet, vendored scripts and icons into src/cnet/web/static. `--check` only compares.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "src", "cnet", "web", "static");
const modules = join(here, "node_modules");

const VENDORED = {
  "vendor/htmx.js": "htmx.org/dist/htmx.min.js",
  "vendor/idiomorph-htmx.js": "idiomorph/dist/idiomorph-ext.min.js",
  "vendor/cytoscape.js": "cytoscape/dist/cytoscape.min.js",
  "vendor/uplot.js": "uplot/dist/uPlot.iife.min.js",
  "vendor/uplot.css": "uplot/dist/uPlot.min.css",
  "vendor/xterm.js": "@xterm/xterm/lib/xterm.mjs",
  "vendor/xterm-fit.js": "@xterm/addon-fit/lib/addon-fit.mjs",
  "vendor/xterm.css": "@xterm/xterm/css/xterm.css",
  "vendor/swagger-ui.js": "swagger-ui-dist/swagger-ui-bundle.js",
  "vendor/swagger-ui.css": "swagger-ui-dist/swagger-ui.css",
};
const LICENCES = {
  htmx: "htmx.org/LICENSE",
  idiomorph: "idiomorph/LICENSE",
  cytoscape: "cytoscape/LICENSE",
  uPlot: "uplot/LICENSE",
  "xterm.js": "@xterm/xterm/LICENSE",
  "Swagger UI": "swagger-ui-dist/NOTICE",
  "Feather icons": "feather-icons/LICENSE",
};

function icons() {
  const names = readFileSync(join(here, "icons.txt"), "utf8").split(/\s+/).filter(Boolean).sort();
  const symbols = names.map((name) => {
    const svg = readFileSync(join(modules, "feather-icons", "dist", "icons", `${name}.svg`), "utf8");
    const inner = svg.replace(/^<svg[^>]*>/, "").replace(/<\/svg>\s*$/, "");
    return `<symbol id="${name}" viewBox="0 0 24 24">${inner}</symbol>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`;
}

function stylesheet() {
  const folder = mkdtempSync(join(tmpdir(), "cnet-web-"));
  try {
    const out = join(folder, "app.css");
    const cli = join(modules, "@tailwindcss", "cli", "dist", "index.mjs");
    execFileSync(process.execPath, [cli, "-i", join(here, "app.css"), "-o", out, "--minify"], {
      cwd: here,
      stdio: ["ignore", "ignore", "inherit"],
    });
    // One rule a line: differences can be read, and merged.
    return readFileSync(out, "utf8").replaceAll("}", "}\n").replace(/\n+/g, "\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function files() {
  const made = { "app.css": stylesheet(), "icons.svg": icons() };
  for (const [name, source] of Object.entries(VENDORED)) {
    // Without the line that names a source map: it is not shipped.
    made[name] = readFileSync(join(modules, source), "utf8").replace(/\n?\/[/*]# sourceMappingURL=[^\n]*/g, "");
  }
  made["vendor/LICENCES.txt"] = Object.entries(LICENCES)
    .map(([name, source]) => `${name}\n\n${readFileSync(join(modules, source), "utf8").trim()}\n`)
    .join(`\n${"-".repeat(72)}\n\n`);
  return made;
}

const check = process.argv.includes("--check");
const made = files();
const stale = Object.entries(made)
  .filter(([name, text]) => !existsSync(join(target, name)) || readFileSync(join(target, name), "utf8") !== text)
  .map(([name]) => name);
const known = readdirSync(join(target, "vendor"), { withFileTypes: true }).map((entry) => `vendor/${entry.name}`);
const left = known.filter((name) => !(name in made));
if (check && (stale.length || left.length)) {
  console.error(`not as a fresh build makes them: ${[...stale, ...left].join(", ")}; run \`make web\` and commit`);
  process.exit(1);
}
if (!check) {
  for (const name of left) rmSync(join(target, name));
  for (const name of stale) {
    mkdirSync(dirname(join(target, name)), { recursive: true });
    writeFileSync(join(target, name), made[name]);
    console.log(`made ${name}`);
  }
}
