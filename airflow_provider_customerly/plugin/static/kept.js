// Carries over what a person has done to a page when it is drawn anew.

const FOCUSABLE = "a, button, summary, [tabindex]";

// Look at the page before it is drawn anew; call what is returned afterwards.
export function kept(page) {
  const open = namesOf(page, "details[open]");
  const scrolled = [...page.querySelectorAll(".scroll")].filter((one) => one.scrollLeft || one.scrollTop).map((one) => [nameOf(page, one), one.scrollLeft, one.scrollTop]);
  const active = page.contains(document.activeElement) ? document.activeElement.closest(FOCUSABLE) : null;
  const focused = active ? nameOf(page, active) : null;
  const place = active ? alike(page, focused).indexOf(active) : 0;

  return () => {
    for (const details of page.querySelectorAll("details")) {
      details.open ||= open.has(nameOf(page, details));
    }
    const regions = new Map([...page.querySelectorAll(".scroll")].map((one) => [nameOf(page, one), one]));
    for (const [name, left, top] of scrolled) {
      regions.get(name)?.scrollTo(left, top);
    }
    alike(page, focused)[place]?.focus({ preventScroll: true });
  };
}

function namesOf(page, selector) {
  return new Set([...page.querySelectorAll(selector)].map((one) => nameOf(page, one)));
}

function alike(page, name) {
  return [...page.querySelectorAll(FOCUSABLE)].filter((one) => nameOf(page, one) === name);
}

// Elements are new each time: the same one is in the same card, with the same address or words.
function nameOf(page, element) {
  const card = element.parentElement?.closest("[aria-labelledby]")?.getAttribute("aria-labelledby") ?? "";
  const said = element.matches("details") ? element.querySelector("summary")?.textContent : element.textContent;
  const name = element.getAttribute("href") ?? element.getAttribute("aria-label") ?? said ?? "";
  return [card, element.tagName, name].join("\n");
}
