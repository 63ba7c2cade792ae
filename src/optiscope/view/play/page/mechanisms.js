// The mechanisms of a rule, read off its dynamics as its sliders move.

import { askJson, latest } from "./wire.js";
import * as plot from "./plot.js";
import { editor, fresh, node } from "./rules.js";
import { t } from "./words.js";

const $ = (id) => document.getElementById(id);

export function mechanisms(page) {
  const { view: { mechanisms: view }, catalogue } = page;
  let found = null, asked = null;

  const refresh = latest(async () => {
    const { rule, fields } = view.rules[0], facts = { rule: { rule, fields }, task: view.task }, key = JSON.stringify(facts);
    if ($("mechanisms").hidden || key === asked) return;
    const untell = page.tell(t("reading"));
    try { found = await askJson("/mechanisms", facts); } finally { untell(); }
    asked = key;
    page.report("");
    draw();
  }, (error) => page.report(error.message));

  function draw() {
    if ($("mechanisms").hidden || !found) return;
    $("mechanisms-says").replaceChildren(...found.says.filter((f) => f.words).map((f) => node("li", { textContent: f.words })));
    $("mechanisms-notes").replaceChildren(...found.notes.map((note) => node("li", { textContent: note })));
    drawEigenvalues();
    drawUpdates();
    const rates = found.schedule.map((rate) => Math.abs(rate ?? NaN));
    plot.curves($("m-schedule"), [{ values: rates, colour: plot.colour(0), dash: [] }], { last: rates.length - 1, xLabel: t("shown"), yLabel: "|∂S/∂g|" });
    drawArms();
    for (const [id, word] of [["m-eigenvalues", "eigenvalues"], ["m-updates", "updates"], ["m-schedule", "scheduled"], ["m-arms", "armed"]]) {
      $(id).setAttribute("aria-label", t(word));
    }
  }

  function drawEigenvalues() {
    const { c, width, height } = plot.begin($("m-eigenvalues")), f = plot.frame(width, height, [-1.15, 1.15], [-1.15, 1.15]);
    c.strokeStyle = plot.quiet();
    c.lineWidth = 1;
    c.beginPath(); c.moveTo(0, f.py(0)); c.lineTo(width, f.py(0)); c.moveTo(f.px(0), 0); c.lineTo(f.px(0), height); c.stroke();
    c.beginPath(); c.arc(f.px(0), f.py(0), f.px(1) - f.px(0), 0, 2 * Math.PI); c.stroke();
    const most = Math.max(...found.eigenvalues.map(([, , reach]) => reach ?? 0), 1e-300);
    for (const [real, imaginary, reach] of found.eigenvalues) {
      plot.dot(c, f.px(real), f.py(imaginary), 3 + 7 * Math.sqrt((reach ?? 0) / most), plot.colour(0));
    }
  }

  function drawUpdates() {
    const span = found.updates.flatMap(({ grads }) => grads), steps = found.updates.flatMap(({ steps }) => steps).filter((s) => s !== null);
    const { c, width, height } = plot.begin($("m-updates"));
    const x = [Math.min(...span), Math.max(...span)], most = Math.max(...steps.map(Math.abs), 1e-300);
    const f = plot.frame(width, height, x, [-1.1 * most, 1.1 * most], 1);
    plot.axes(c, f, { xLabel: "g", yLabel: "S(h, g)" });
    // The density is over log |g|: on this axis, that of both signs.
    c.fillStyle = plot.quiet();
    c.globalAlpha = 0.25;
    const densest = Math.max(...found.met.density.map((d, i) => d / 10 ** found.met.at[i]));
    found.met.density.forEach((d, i) => {
      const size = 10 ** found.met.at[i];
      if (size > x[1]) return;
      for (const sign of [-1, 1]) {
        const tall = 0.3 * f.h * (d / size / densest);
        c.fillRect(f.px(sign * size) - 1, f.top + f.h - tall, 2, tall);
      }
    });
    c.globalAlpha = 1;
    found.updates.forEach(({ label, grads, steps: values }, i) => {
      c.strokeStyle = c.fillStyle = plot.colour(i);
      c.setLineDash(plot.dash(i));
      c.lineWidth = 1.8;
      c.beginPath();
      grads.forEach((g, j) => { if (values[j] !== null) c.lineTo(f.px(g), f.py(values[j])); });
      c.stroke();
      c.setLineDash([]);
      c.textAlign = "end";
      c.fillText(label, f.left + f.w - 5, f.top + 15 * (i + 1));
    });
  }

  function drawArms() {
    const { grads, rates } = found.arms;
    const there = grads.map((g, i) => [Math.log10(Math.abs(g)), Math.log10(rates[i] ?? NaN), Math.sign(g)]).filter((p) => p.every(Number.isFinite));
    const { c, width, height } = plot.begin($("m-arms"));
    if (!there.length) return;
    const limits = (values, least) => {
      const low = Math.min(...values), high = Math.max(...values), pad = Math.max(0.05 * (high - low), least);
      return [low - pad, high + pad];
    };
    const f = plot.frame(width, height, limits(there.map((p) => p[0]), 0.05), limits(there.map((p) => p[1]), 0.5), 1);
    plot.axes(c, f, { xLabel: "log₁₀ |g|", yLabel: "|∂S/∂g|", logY: true });
    for (const [x, y, sign] of there) plot.dot(c, f.px(x), f.py(y), 3, plot.colour(sign > 0 ? 0 : 1));
  }

  const changed = () => { refresh(); page.save(); };
  const drawEditor = editor($("mechanisms-rules"), catalogue, view.rules, 1, changed);
  $("mechanisms-rule").replaceChildren(...catalogue.rules.map((rule) => node("option", { textContent: rule.name })));
  $("mechanisms-rule").addEventListener("change", () => {
    view.rules[0] = { ...fresh(catalogue, $("mechanisms-rule").value), fields: {} };
    drawEditor();
    changed();
  });
  $("mechanisms-task").replaceChildren(...catalogue.explained.map((name) => node("option", { textContent: name })));
  $("mechanisms-task").addEventListener("change", () => { view.task = $("mechanisms-task").value; changed(); });

  return {
    refresh, draw, shade: draw,
    restore: () => {
      $("mechanisms-rule").value = view.rules[0].rule;
      $("mechanisms-task").value = view.task;
      drawEditor();
    },
  };
}
