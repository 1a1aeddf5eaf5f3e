// Shows the page in the theme of Airflow's UI, which keeps its choice under "theme" for the whole origin.
"use strict";

(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function apply() {
    let chosen = null;
    try {
      chosen = window.localStorage.getItem("theme");
    } catch {
      // No storage: the system's theme it is.
    }
    const isDark = chosen === "dark" || (chosen !== "light" && dark.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  }

  apply();
  dark.addEventListener("change", apply);
  window.addEventListener("storage", apply); // Airflow's own page, around this one, has switched
})();
