// Fields that count only with certain values of another one: data-when="<name>" data-values="a b".

export function showWhatCounts(root) {
  for (const element of root.querySelectorAll("[data-when]")) {
    const value = root.querySelector(`[name="${element.dataset.when}"]`).value;
    element.hidden = !element.dataset.values.split(" ").includes(value);
  }
}
