// The page: its panels, its language and colours, and the link that restores a view.

import { descent } from "./descent.js";
import { mechanisms } from "./mechanisms.js";
import { modes } from "./modes.js";
import { race } from "./race.js";
import { step } from "./step.js";
import { speak, t } from "./words.js";

const $ = (id) => document.getElementById(id);
const PANELS = ["descent", "step", "modes", "mechanisms", "race"];

const FIRST = {
  panel: "descent", language: navigator.language.startsWith("zh") ? "zh" : "en",
  landscape: "himmelblau", formula: null, low: -3, high: 3, start: [-0.5, 4.2], steps: 500, noise: 0, seed: 0, many: false, basins: -1,
  rules: [
    { rule: "gd", on: true, fields: { lr: 0.002 } }, { rule: "momentum", on: true, fields: { lr: 0.002 } },
    { rule: "rmsprop", on: true, fields: { lr: 0.02 } }, { rule: "adam", on: true, fields: { lr: 0.1 } },
  ],
  selected: 1, k: 5,
  modes: { rule: "momentum", lr: 1.2, beta: 0.6, condition: 1.5 },
  mechanisms: { task: "quadratic", rules: [{ rule: "momentum", on: true, fields: {} }] },
  race: {
    task: "two-moons", seeds: 8, steps: 300,
    rules: [
      { rule: "gd", on: true, fields: { lr: 0.3 } }, { rule: "momentum", on: true, fields: { lr: 0.05 } },
      { rule: "rmsprop", on: true, fields: { lr: 0.01 } }, { rule: "adam", on: true, fields: { lr: 0.01 } },
    ],
  },
};

/** A view as the link holds it, laid over `first`: what has another shape than there is left out. */
function restored(first, given) {
  if (first === null) return typeof given === "string" ? given : null;
  if (given === null || typeof first !== typeof given) return first;
  if (Array.isArray(first)) return Array.isArray(given) && given.length ? given.map((entry, i) => restored(first[Math.min(i, first.length - 1)], entry)) : first;
  if (typeof first !== "object") return given;
  return Object.fromEntries(Object.keys(first).map((key) => [key, key === "fields" ? { ...given[key] } : key in given ? restored(first[key], given[key]) : first[key]]));
}

function read(catalogue) {
  const text = decodeURIComponent(location.hash.slice(1));
  if (!text) return [structuredClone(FIRST), ""];
  try {
    const view = restored(FIRST, JSON.parse(text)), known = new Set(catalogue.rules.map((rule) => rule.name));
    if (![...view.rules, ...view.race.rules, ...view.mechanisms.rules].every((entry) => known.has(entry.rule))) throw new Error();
    if (view.formula === null && !catalogue.landscapes.some((l) => l.name === view.landscape)) throw new Error();
    return [view, ""];
  } catch {
    return [structuredClone(FIRST), "badLink"];
  }
}

async function main() {
  const catalogue = await (await fetch("/catalogue")).json();
  const [view, trouble] = read(catalogue);
  let saving = null;
  const page = {
    view, catalogue,
    report: (text) => { $("message").textContent = text; },
    // Returns what takes the words back, unless others have taken their place.
    tell: (text) => {
      $("status").textContent = text;
      return () => { if ($("status").textContent === text) $("status").textContent = ""; };
    },
    save: () => { clearTimeout(saving); saving = setTimeout(link, 200); },
    followed: () => panels.step.refresh(),
  };
  const link = () => history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(view))}`);

  speak(view.language);
  const first = descent(page);
  const panels = { descent: first, step: step(page, first), modes: modes(page), mechanisms: mechanisms(page), race: race(page) };
  const all = (what) => { for (const panel of Object.values(panels)) panel[what](); };

  function open(name) {
    view.panel = PANELS.includes(name) ? name : "descent";
    for (const panel of PANELS) {
      const chosen = panel === view.panel, tab = $(`tab-${panel}`);
      $(panel).hidden = !chosen;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
    }
    panels[view.panel].refresh();
  }
  for (const panel of PANELS) $(`tab-${panel}`).addEventListener("click", () => { open(panel); page.save(); });
  $("tabs").addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = PANELS[(PANELS.indexOf(view.panel) + move + PANELS.length) % PANELS.length];
    open(next);
    $(`tab-${next}`).focus();
    page.save();
  });

  $("share").addEventListener("click", async () => {
    link();
    await navigator.clipboard?.writeText(location.href).catch(() => {});
    page.tell(t("shared"));
  });
  $("language").addEventListener("change", () => {
    view.language = $("language").value;
    speak(view.language);
    all("restore");
    all("draw");
    page.save();
  });

  const system = matchMedia("(prefers-color-scheme: dark)");
  function theme() {
    document.documentElement.dataset.theme = $("theme").value || (system.matches ? "dark" : "light");
    all("restore");
    all("shade");
  }
  $("theme").addEventListener("change", theme);
  system.addEventListener("change", theme);
  new ResizeObserver(() => all("draw")).observe(document.querySelector("main"));
  // A link pasted into the address bar of this very page.
  addEventListener("hashchange", () => location.reload());

  $("language").value = view.language;
  open(view.panel);
  theme();
  if (trouble) page.tell(t(trouble));
  if (view.panel !== "descent") first.refresh();
}

main().catch((error) => { document.getElementById("message").textContent = error.message; });
