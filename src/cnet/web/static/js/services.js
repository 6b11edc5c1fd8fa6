// Dialogs of a service: fields of the scale that count, shares by slider and their sum.
import { showWhatCounts } from "./conditions.js";

const WHOLE = 100;

const numberOf = (row) => row.querySelector("[name]");
const sliderOf = (row) => row.querySelector("[type=range]");

function set(row, share) {
  numberOf(row).value = share;
  sliderOf(row).value = share;
}

function sum(form) {
  const fields = [...form.querySelectorAll("[data-share] [name]")];
  const total = fields.reduce((before, field) => before + (Number(field.value) || 0), 0);
  const place = form.querySelector("[data-sum]");
  place.textContent = `${place.dataset.sum} ${total} %`;
  place.classList.toggle("text-bad", total !== WHOLE);
}

document.addEventListener("input", (event) => {
  const row = event.target.closest("[data-share]");
  if (!row) return;
  const form = row.closest("form");
  if (event.target === sliderOf(row)) numberOf(row).value = event.target.value;
  else sliderOf(row).value = Number(event.target.value) || 0;
  const others = [...form.querySelectorAll("[data-share]")].filter((each) => each !== row && numberOf(each).value !== "");
  const share = Number(numberOf(row).value);
  if (others.length === 1 && numberOf(row).value !== "" && share >= 0 && share <= WHOLE) set(others[0], WHOLE - share);
  sum(form);
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-conditions]");
  if (form) showWhatCounts(form);
});
