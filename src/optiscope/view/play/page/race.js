// The race: rules on a real task, live.

import { lines } from "./wire.js";
import * as plot from "./plot.js";
import { editor, node, table, wired } from "./rules.js";
import { t } from "./words.js";

const MOST = 6, MAP = 40;
const $ = (id) => document.getElementById(id);

export function race(page) {
  const { view: { race: view }, catalogue } = page;
  let told = [], rules = [], maps = [], stop = null;

  async function go() {
    if (stop) { stop.abort(); return; }
    stop = new AbortController();
    [told, maps] = [[], []];
    rules = view.rules.map((entry, index) => ({ index, name: entry.rule })).filter(({ index }) => view.rules[index].on);
    label();
    page.report("");
    const untell = page.tell(t("racing"));
    try {
      const facts = { task: view.task, rules: wired(view.rules), seeds: view.seeds, steps: view.steps };
      for await (const line of lines("/race", facts, stop.signal)) {
        told.push(line);
        if (line.maps) maps = line.maps;
        // A line a frame: whoever watches sees it grow.
        await new Promise(requestAnimationFrame);
        draw();
      }
      page.tell(t("done"));
    } catch (error) {
      untell();
      if (error.name !== "AbortError") page.report(error.message);
    }
    stop = null;
    label();
  }

  function draw() {
    if ($("race").hidden) return;
    const last = told.length ? view.steps : 1;
    plot.curves($("race-curves"), rules.map(({ index }, i) => {
      const values = told.map((line) => line.mean[i]);
      return {
        values, colour: plot.colour(index), dash: plot.dash(index),
        low: values.map((v, k) => v - told[k].error[i]), high: values.map((v, k) => v + told[k].error[i]),
      };
    }), { at: (i) => told[i].k, last, xLabel: t("shown"), yLabel: t("loss") });
    $("race-curves").setAttribute("aria-label", t("raceLabel"));
    const now = told.at(-1);
    table($("race-table"), [[t("rule"), t("shown"), t("loss"), "±"], ...(now ? rules.map(({ name }, i) => [
      name, String(now.k), now.mean[i] === null ? t("diverged") : plot.short(now.mean[i], 5), now.mean[i] === null ? "" : plot.short(now.error[i], 2),
    ]) : [])]);
    drawMaps();
  }

  function drawMaps() {
    const rows = told[0]?.rows;
    if (!rows || !maps.length) { $("race-maps").replaceChildren(); return; }
    if ($("race-maps").children.length !== rules.length) {
      $("race-maps").replaceChildren(...rules.map(({ name }) => {
        const canvas = node("canvas", { className: "square" });
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", t("boundary", { rule: name }));
        return node("figure", {}, node("figcaption", { textContent: name }), canvas);
      }));
    }
    const [x, y] = told[0].box;
    [...$("race-maps").querySelectorAll("canvas")].forEach((canvas, i) => {
      const { c, width, height } = plot.begin(canvas), f = plot.frame(width, height, x, y);
      const image = new OffscreenCanvas(MAP, MAP), small = image.getContext("2d"), data = small.createImageData(MAP, MAP);
      const [one, other] = plot.dark() ? [[120, 70, 30], [20, 70, 110]] : [[250, 205, 170], [175, 215, 240]];
      maps[i].forEach((percent, at) => {
        const row = MAP - 1 - Math.floor(at / MAP), u = percent / 100;
        data.data.set([...one.map((v, j) => v + (other[j] - v) * u), 255], 4 * (row * MAP + (at % MAP)));
      });
      small.putImageData(data, 0, 0);
      c.drawImage(image, 0, 0, width, height);
      for (const [px, py, label] of rows) {
        c.fillStyle = plot.colour(label ? 0 : 1);
        if (label) c.fillRect(f.px(px) - 1.5, f.py(py) - 1.5, 3, 3);
        else { c.beginPath(); c.arc(f.px(px), f.py(py), 1.7, 0, 7); c.fill(); }
      }
    });
  }

  function label() { $("race-go").textContent = t(stop ? "stop" : "start"); }

  const drawEditor = editor($("race-rules"), catalogue, view.rules, MOST, () => page.save());
  $("race-task").replaceChildren(...catalogue.races.map((name) => node("option", { textContent: name })));
  $("race-task").addEventListener("change", () => { view.task = $("race-task").value; page.save(); });
  for (const what of ["seeds", "steps"]) $(`race-${what}`).addEventListener("change", () => { view[what] = Number($(`race-${what}`).value); page.save(); });
  $("race-go").addEventListener("click", go);

  return {
    refresh: draw, draw, shade: draw,
    restore: () => {
      $("race-task").value = view.task;
      $("race-seeds").value = view.seeds;
      $("race-steps").value = view.steps;
      label();
      drawEditor();
    },
  };
}
