// Inside Airflow's UI the page is in a frame that may not leave itself: a link to Airflow's own pages is followed
// by the page around it.

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[target=_top]");
  if (!link || window.parent === window || event.defaultPrevented) {
    return;
  }
  let around;
  try {
    around = window.parent.document;
  } catch {
    return; // somebody else's page
  }
  event.preventDefault();
  const same = around.createElement("a");
  same.href = link.href;
  around.body.append(same);
  same.click();
  same.remove();
});
