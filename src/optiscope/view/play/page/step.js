// How a step is made: the gradient, the state and the step of one rule at one point, as arrows and as numbers.

import { askFloats, askJson, latest } from "./wire.js";
import * as plot from "./plot.js";
import { described, node, table, wired } from "./rules.js";
import { t } from "./words.js";

const $ = (id) => document.getElementById(id);

export function step(page, descent) {
  const { view, catalogue } = page;
  let made = null, shade = null, frame = null;

  const refresh = latest(async () => {
    if ($("step").hidden) return;
    choices();
    const entry = view.rules[view.selected];
    const facts = { ...descent.facts(), rules: wired([{ ...entry, on: true }]), starts: [view.start] };
    const found = await askJson("/moment", { ...facts, k: view.k });
    // The picture is some steps wide, about the step's middle.
    const reach = Math.max(1.6 * Math.hypot(...found.step), 1e-4 * Math.hypot(...found.at), 1e-6);
    const middle = [0, 1].map((i) => found.at[i] + found.step[i] / 2);
    const box = { x: [middle[0] - reach, middle[0] + reach], y: [middle[1] - reach, middle[1] + reach] };
    const heights = await askFloats("/heights", { ...descent.place(), ...box });
    [made, shade, frame] = [found, plot.contours(heights, catalogue.sizes.heights), box];
    page.report("");
    draw();
  }, (error) => page.report(error.message));

  function draw() {
    if ($("step").hidden || !made) return;
    const { c, width, height } = plot.begin($("arrows")), f = plot.frame(width, height, frame.x, frame.y);
    c.drawImage(shade, 0, 0, width, height);
    const [x, y] = [f.px(made.at[0]), f.py(made.at[1])];
    const towards = ([a, b], length) => { const size = Math.hypot(a, b) || 1; return [(length * a) / size, (-length * b) / size]; };
    plot.arrow(c, x, y, ...towards(made.grad.map((g) => -g), 0.3 * width), plot.colour(1), "−g", [6, 3]);
    made.signed.forEach((name, i) => {
      // As it acts: what gathers gradients points uphill, and the step goes against it.
      const value = made.after[name], against = value[0] * made.step[0] + value[1] * made.step[1] < 0;
      plot.arrow(c, x, y, ...towards(value.map((v) => (against ? -v : v)), 0.24 * width), plot.colour(2 + i), against ? `−${name}` : name, [2, 2]);
    });
    plot.arrow(c, x, y, f.px(made.to[0]) - x, f.py(made.to[1]) - y, plot.colour(0), t("stepTaken"));
    plot.dot(c, x, y, 5, plot.ink());
    $("arrows").setAttribute("aria-label", t("arrowsLabel"));
    const numbers = (value) => [].concat(value).flat(3).slice(0, 2).map((v) => plot.short(v, 6));
    const pair = (name, value) => [name, ...numbers(value), ...(Array.isArray(value) ? [] : [""])];
    table($("step-numbers"), [
      ["", "x", "y"], pair(t("point"), made.at), pair(t("gradient"), made.grad),
      ...Object.keys(made.after).flatMap((name) => [pair(`${name}, ${t("before")}`, made.before[name]), pair(`${name}, ${t("after")}`, made.after[name])]),
      pair(t("stepTaken"), made.step), pair(t("next"), made.to),
    ]);
  }

  function choices() {
    if (view.selected >= view.rules.length) view.selected = 0;
    if (view.k > view.steps) view.k = view.steps;
    $("step-rule").replaceChildren(...view.rules.map((entry, i) => node("option", { value: i, textContent: `${i + 1} ${entry.rule}` })));
    $("step-rule").value = view.selected;
    $("k").max = view.steps;
    $("k").value = view.k;
    $("k-value").textContent = view.k;
    const entry = view.rules[view.selected], facts = described(catalogue, entry.rule);
    const settings = facts.fields.map((field) => [field.name, entry.fields[field.name] ?? field.value]).filter(([, value]) => value !== null);
    $("step-doc").textContent = `${facts.doc}\n\n${settings.map(([name, value]) => `${name} = ${plot.short(value, 6)}`).join("   ")}   t = ${view.k}`;
  }

  const changed = () => { refresh(); page.save(); };
  const go = (k) => { view.k = Math.min(view.steps, Math.max(1, k)); changed(); };
  $("step-rule").addEventListener("change", () => { view.selected = Number($("step-rule").value); changed(); });
  $("k").addEventListener("input", () => go($("k").valueAsNumber));
  $("k-back").addEventListener("click", () => go(view.k - 1));
  $("k-forward").addEventListener("click", () => go(view.k + 1));

  return { refresh, draw, restore: choices, shade: refresh };
}
