// Momentum and modes: how fast a quadratic converges over the plane of lr and β, and why.

import { askFloats, askJson, latest } from "./wire.js";
import * as plot from "./plot.js";
import { node } from "./rules.js";
import { t } from "./words.js";

const MODES = 5;
const $ = (id) => document.getElementById(id);

export function modes(page) {
  const { view: { modes: view }, catalogue } = page;
  const [rows, columns] = catalogue.sizes.rates;
  let plane = null, planeOf = null, image = null, here = null;

  const curvatures = () => Array.from({ length: MODES }, (_, i) => 10 ** (-view.condition * (1 - i / (MODES - 1))));
  const reach = Number($("modes-lr").max);

  const refresh = latest(async () => {
    if ($("modes").hidden) return;
    say();
    const facts = { rule: view.rule, curvatures: curvatures() }, key = JSON.stringify(facts);
    const [found, rates] = await Promise.all([
      askJson("/modes", { ...facts, lr: view.lr, momentum: view.beta }),
      key === planeOf ? null : askFloats("/rates", facts),
    ]);
    here = found;
    if (rates) { [plane, planeOf] = [rates, key]; shade(); }
    page.report("");
    draw();
  }, (error) => page.report(error.message));

  function shade() {
    if (!plane) return;
    image = new OffscreenCanvas(columns, rows);
    const c = image.getContext("2d"), data = c.createImageData(columns, rows);
    plane.forEach((rate, i) => {
      const at = 4 * ((rows - 1 - Math.floor(i / columns)) * columns + (i % columns));
      // How many steps one tenth takes, on a scale that ends at 1 (at once) and 0 (never).
      const depth = rate < 1 ? Math.min(1, Math.sqrt(-Math.log(rate) / 1.5)) : 0;
      const [from, to] = plot.dark() ? [[30, 34, 38], [86, 169, 224]] : [[238, 242, 245], [0, 74, 120]];
      const shades = rate >= 1 ? (plot.dark() ? [70, 46, 30] : [246, 221, 200]) : from.map((v, j) => v + (to[j] - v) * depth);
      data.data.set([...shades, 255], at);
    });
    c.putImageData(data, 0, 0);
  }

  function draw() {
    if ($("modes").hidden || !image || !here) return;
    drawPlane();
    drawCircle();
    plot.curves($("errors"), here.errors.map((values, i) => ({ values, colour: plot.colour(i), dash: plot.dash(i) })), { last: here.errors[0].length - 1, xLabel: t("shown"), yLabel: "|x|" });
    $("plane").setAttribute("aria-label", t("planeLabel"));
    $("circle").setAttribute("aria-label", t("circleLabel"));
    $("errors").setAttribute("aria-label", t("errorsLabel"));
    const steps = Math.log(0.5) / Math.log(here.rate);
    $("modes-says").textContent = here.rate < 1
      ? `${t("rate", { rate: plot.short(here.rate) })}: ${t("halves", { steps: plot.short(steps, 3) })}`
      : `${t("rate", { rate: plot.short(here.rate) })}: ${t("diverges")}`;
  }

  function planeFrame(width, height) { return plot.frame(width, height, [0, reach], [0, 1], 1); }

  function drawPlane() {
    const { c, width, height } = plot.begin($("plane")), f = planeFrame(width, height);
    c.imageSmoothingEnabled = true;
    c.drawImage(image, f.left, f.top, f.w, f.h);
    plot.axes(c, f, { xLabel: "lr", yLabel: "β" });
    // The stability edge: between neighbours of which one converges.
    c.strokeStyle = plot.colour(1);
    c.lineWidth = 2;
    c.beginPath();
    for (let row = 0; row < rows; row++) {
      const rates = plane.subarray(row * columns, (row + 1) * columns);
      let column = columns - 1;
      while (column > 0 && rates[column - 1] >= 1) column--;
      const [a, b] = [rates[column - 1], rates[column]];
      c.lineTo(f.px((reach * (column - 1 + (1 - a) / (b - a))) / (columns - 1)), f.py((row + 0.5) / rows));
    }
    c.stroke();
    plot.dot(c, f.px(view.lr), f.py(view.beta), 7, plot.colour(5), plot.ink());
  }

  function drawCircle() {
    const { c, width, height } = plot.begin($("circle")), f = plot.frame(width, height, [-1.3, 1.3], [-1.3, 1.3]);
    c.strokeStyle = plot.quiet();
    c.lineWidth = 1;
    c.beginPath(); c.moveTo(0, f.py(0)); c.lineTo(width, f.py(0)); c.moveTo(f.px(0), 0); c.lineTo(f.px(0), height); c.stroke();
    c.beginPath(); c.arc(f.px(0), f.py(0), f.px(1) - f.px(0), 0, 2 * Math.PI); c.stroke();
    c.setLineDash([4, 3]);
    c.beginPath(); c.arc(f.px(0), f.py(0), Math.min(4, here.rate) * (f.px(1) - f.px(0)), 0, 2 * Math.PI); c.stroke();
    c.setLineDash([]);
    here.eigenvalues.forEach((pairs, i) => {
      for (const [real, imaginary] of pairs) plot.dot(c, f.px(Math.max(-1.25, Math.min(1.25, real))), f.py(imaginary), 5.5 - 0.5 * i, plot.colour(i));
    });
  }

  function say() {
    for (const [id, value] of [["modes-lr", view.lr], ["modes-beta", view.beta], ["condition", view.condition]]) $(id).value = value;
    $("modes-rule").value = view.rule;
    $("modes-lr-value").textContent = plot.short(view.lr);
    $("modes-beta-value").textContent = plot.short(view.beta);
    $("condition-value").textContent = plot.short(10 ** view.condition, 3);
  }

  function set(given) { Object.assign(view, given); refresh(); page.save(); }

  $("modes-rule").replaceChildren(...catalogue.modes.map((name) => node("option", { textContent: name })));
  $("modes-rule").addEventListener("change", () => set({ rule: $("modes-rule").value }));
  $("condition").addEventListener("input", () => set({ condition: $("condition").valueAsNumber }));
  $("modes-lr").addEventListener("input", () => set({ lr: $("modes-lr").valueAsNumber }));
  $("modes-beta").addEventListener("input", () => set({ beta: $("modes-beta").valueAsNumber }));
  $("modes-best").addEventListener("click", () => {
    if (!plane) return;
    const best = plane.indexOf(plane.reduce((a, b) => Math.min(a, b)));
    set({ lr: Number(((reach * (best % columns)) / (columns - 1)).toPrecision(4)), beta: Number((Math.floor(best / columns) / rows).toPrecision(4)) });
  });
  function point(event) {
    const { left, top, width, height } = $("plane").getBoundingClientRect(), f = planeFrame(width, height);
    const within = (value, most) => Number(Math.min(most, Math.max(0, value)).toPrecision(4));
    set({ lr: within(f.atX(event.clientX - left), reach), beta: within(f.atY(event.clientY - top), 0.995) });
  }
  $("plane").addEventListener("pointerdown", (event) => { $("plane").setPointerCapture(event.pointerId); point(event); });
  $("plane").addEventListener("pointermove", (event) => { if (event.buttons & 1) point(event); });

  return { refresh, draw, restore: say, shade: () => { shade(); draw(); } };
}
