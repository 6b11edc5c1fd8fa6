// <time datetime> in the reader's own time; with data-relative as "3 minutes ago".

const locale = document.body.dataset.locale;
const clock = new Intl.DateTimeFormat(locale, {
  month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export function ago(seconds) {
  const [unit, length] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS[3];
  return relative.format(-Math.trunc(seconds / length), unit);
}

export function showTimes(root) {
  for (const element of root.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    const text = "relative" in element.dataset ? ago((Date.now() - at) / 1000) : clock.format(at);
    if (element.textContent !== text) element.textContent = text;
    if (!element.title) element.title = full.format(at);
  }
}

export function startTimes() {
  showTimes(document);
  setInterval(() => showTimes(document), 5000);
  document.addEventListener("htmx:afterSwap", (event) => showTimes(event.target));
}
