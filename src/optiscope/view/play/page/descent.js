// Descent: the ways of rules over a landscape.

import { ask, askFloats, askJson, latest } from "./wire.js";
import * as plot from "./plot.js";
import { editor, node, running, table, wired } from "./rules.js";
import { t } from "./words.js";

const MOST = 8;
const $ = (id) => document.getElementById(id);

/**
 * The panel. `page` has view (what the link holds), catalogue, and report, save, told of troubles and of changes.
 *
 * Returns {refresh, draw, restore}: ask anew, draw again, and put the view into the controls.
 */
export function descent(page) {
  const { view, catalogue } = page;
  const picture = { heights: null, place: null, ways: null, basins: null, marks: [], shade: null, asked: null };
  let shown = view.steps, playing = null;

  // What the server is asked for.

  const place = () => (view.formula === null ? { landscape: view.landscape } : { formula: view.formula, low: view.low, high: view.high });
  const box = () => (view.formula === null ? catalogue.landscapes.find((l) => l.name === view.landscape) : view);
  const starts = () => {
    if (!view.many) return [view.start];
    const { low, high } = box(), at = (i) => low + ((high - low) * (i + 0.5)) / 8;
    return [view.start, ...Array.from({ length: 63 }, (_, i) => [at(i % 8), at(Math.floor(i / 8))])];
  };
  const facts = () => ({ ...place(), rules: wired(view.rules), starts: starts(), steps: view.steps, noise: view.noise, seed: view.seed });

  const refresh = latest(async () => {
    const asked = picture.asked ?? performance.now();
    picture.asked = null;
    const wanted = facts(), key = JSON.stringify(place());
    if (!wanted.rules.length) { picture.ways = []; draw(); return; }
    const jobs = [askFloats("/walk", wanted)];
    if (picture.place !== key) jobs.push(askFloats("/heights", place()));
    const [floats, heights] = await Promise.all(jobs);
    const on = view.rules.map((_, i) => i).filter((i) => view.rules[i].on);
    const count = wanted.starts.length, length = wanted.steps + 1, each = 3 * count * length;
    picture.ways = on.map((index, i) => ({
      index, name: view.rules[index].rule, count, length,
      points: floats.subarray(i * each, i * each + 2 * count * length),
      heights: floats.subarray(i * each + 2 * count * length, (i + 1) * each),
    }));
    if (heights) { picture.heights = heights; picture.place = key; picture.marks = []; picture.basins = null; shade(); mark(key); }
    if (!playing) shown = wanted.steps;
    page.report("");
    draw();
    performance.measure("drawn", { start: asked });
    basins();
    page.followed();
  }, (error) => page.report(error.message));

  const mark = async (key) => {
    try {
      const found = await askJson("/marks", place());
      if (picture.place === key) { picture.marks = found; draw(); }
    } catch (error) { page.report(error.message); }
  };

  const basins = latest(async () => {
    const entry = view.rules[view.basins];
    if (!entry) { if (picture.basins) { picture.basins = null; draw(); } return; }
    const key = picture.place;
    const found = await askFloats("/basins", { ...facts(), rules: wired([{ ...entry, on: true }]), starts: [view.start] });
    if (picture.place === key) { picture.basins = found; draw(); }
  }, (error) => page.report(error.message));

  // What is drawn.

  function shade() {
    if (picture.heights) picture.shade = plot.contours(picture.heights, catalogue.sizes.heights);
  }

  function limits() {
    const { low, high } = box();
    return [low, high];
  }

  function draw() {
    if ($("descent").hidden || !picture.shade || !picture.ways) return;
    const { c, width, height } = plot.begin($("map")), f = plot.frame(width, height, limits(), limits());
    c.imageSmoothingEnabled = true;
    c.drawImage(picture.shade, 0, 0, width, height);
    if (picture.basins) drawBasins(c, f);
    for (const point of picture.marks) plot.mark(c, f.px(point.x[0]), f.py(point.x[1]), point.kind, picture.marks.length > 60 ? 2.5 : 6);
    for (const way of [...picture.ways].reverse()) {
      const to = Math.min(shown, way.length - 1);
      c.strokeStyle = plot.colour(way.index);
      c.setLineDash([]);
      c.lineWidth = 0.7;
      c.globalAlpha = 0.55;
      for (let s = 1; s < way.count; s++) plot.way(c, f, way.points.subarray(2 * s * way.length), 0, to);
      c.globalAlpha = 1;
      c.setLineDash(plot.dash(way.index));
      c.lineWidth = 2.2;
      const [x, y] = plot.way(c, f, way.points, 0, to);
      plot.dot(c, x, y, 5, plot.colour(way.index));
    }
    plot.dot(c, f.px(view.start[0]), f.py(view.start[1]), 6, plot.ink());
    const lines = picture.ways.map((way) => ({ values: way.heights.subarray(0, way.length), colour: plot.colour(way.index), dash: plot.dash(way.index) }));
    const floor = lowest();
    for (const line of lines) line.values = line.values.map((value) => value - floor);
    plot.curves($("curves"), lines, { last: view.steps, cursor: shown < view.steps ? shown : null, xLabel: t("shown"), yLabel: floor ? `f − ${plot.short(floor)}` : "f" });
    say();
  }

  // The curves are heights above the lowest minimum, or above the lowest point seen: a log axis needs a floor.
  function lowest() {
    let least = Infinity;
    for (const { heights, length } of picture.ways) for (const value of heights.subarray(0, length)) if (value < least) least = value;
    for (const point of picture.marks) if (point.kind === "minimum" && point.value < least) least = point.value;
    return least < 0 || picture.marks.some((point) => point.kind === "minimum") ? (Number.isFinite(least) ? least : 0) : 0;
  }

  function drawBasins(c, f) {
    const side = catalogue.sizes.basins, image = new OffscreenCanvas(side, side), small = image.getContext("2d");
    picture.basins.forEach((basin, i) => {
      if (basin < 0) return;
      small.fillStyle = plot.colour(basin % 7);
      small.fillRect(i % side, side - 1 - Math.floor(i / side), 1, 1);
    });
    c.globalAlpha = 0.4;
    c.imageSmoothingEnabled = false;
    c.drawImage(image, 0, 0, f.w, f.h);
    c.globalAlpha = 1;
  }

  function say() {
    $("shown").max = view.steps;
    $("shown").value = shown;
    $("shown-value").textContent = shown;
    $("map").setAttribute("aria-label", t("mapLabel", { place: view.formula ?? view.landscape, rules: running(view.rules).map((r) => r.rule).join(", ") }));
    $("curves").setAttribute("aria-label", t("curvesLabel"));
    table($("ends"), [[t("rule"), "x", "y", "f"], ...picture.ways.map(({ name, points, heights, length }) => {
      const at = Math.min(shown, length - 1), fine = Number.isFinite(heights[at]);
      return [name, ...[points[2 * at], points[2 * at + 1], heights[at]].map((v) => (fine ? plot.short(v, 5) : t("diverged")))];
    })]);
  }

  // What the controls do.

  function changed() {
    picture.asked ??= performance.now();
    refresh();
    page.save();
  }

  const clamp = (value) => Math.min(box().high, Math.max(box().low, value));
  function start(x, y) {
    view.start = [x, y].map((v) => Number(clamp(v).toPrecision(5)));
    [$("start-x").value, $("start-y").value] = view.start;
    changed();
  }

  const drawEditor = editor($("rules"), catalogue, view.rules, MOST, () => { basinChoices(); changed(); });

  function basinChoices() {
    const options = [node("option", { value: -1, textContent: t("none") }), ...view.rules.map((entry, i) => node("option", { value: i, textContent: `${i + 1} ${entry.rule}` }))];
    if (view.basins >= view.rules.length) view.basins = -1;
    $("basins").replaceChildren(...options);
    $("basins").value = view.basins;
  }

  // Noise from 0.001 to 1000, and 0 at the slider's end.
  const noiseAt = (position) => (position ? Number((1e-3 * 1e6 ** (position / 1000)).toPrecision(3)) : 0);
  const noisePosition = (noise) => (noise > 0 ? Math.round((1000 * Math.log10(noise / 1e-3)) / 6) : 0);

  function restore() {
    $("landscape").value = view.formula === null ? view.landscape : "";
    $("typed").hidden = view.formula === null;
    $("formula").value = view.formula ?? $("formula").value;
    [$("low").value, $("high").value] = [view.low, view.high];
    [$("start-x").value, $("start-y").value] = view.start;
    $("steps").value = view.steps;
    $("seed").value = view.seed;
    $("noise").value = noisePosition(view.noise);
    $("noise-value").textContent = plot.short(view.noise);
    $("many").checked = view.many;
    $("play").textContent = t(playing ? "pause" : "play");
    basinChoices();
    drawEditor();
    shown = view.steps;
  }

  $("landscape").replaceChildren(...catalogue.landscapes.map((l) => node("option", { value: l.name, textContent: l.name })), node("option", { value: "", textContent: t("typed") }));
  $("formula").maxLength = catalogue.sizes.formula;
  $("formula").value = "sin(3*x) + y**2 + x**2/4";
  $("landscape").addEventListener("change", () => {
    const name = $("landscape").value;
    $("typed").hidden = name !== "";
    if (name) Object.assign(view, { landscape: name, formula: null });
    else Object.assign(view, { formula: $("formula").value });
    // A start within the new box, off its middle, which is often the minimum.
    const { low, high } = box();
    start(low + 0.2 * (high - low), low + 0.7 * (high - low));
  });
  $("typed").addEventListener("submit", (event) => {
    event.preventDefault();
    Object.assign(view, { formula: $("formula").value, low: $("low").valueAsNumber, high: $("high").valueAsNumber });
    start(...view.start);
  });
  for (const id of ["start-x", "start-y"]) $(id).addEventListener("change", () => start($("start-x").valueAsNumber || 0, $("start-y").valueAsNumber || 0));
  $("steps").addEventListener("change", () => { view.steps = Number($("steps").value); shown = view.steps; changed(); });
  $("seed").addEventListener("change", () => { view.seed = Math.max(0, Math.trunc($("seed").valueAsNumber || 0)); changed(); });
  $("noise").addEventListener("input", () => { view.noise = noiseAt($("noise").valueAsNumber); $("noise-value").textContent = plot.short(view.noise); changed(); });
  $("many").addEventListener("change", () => { view.many = $("many").checked; changed(); });
  $("basins").addEventListener("change", () => { view.basins = Number($("basins").value); changed(); });

  function point(event) {
    const { left, top, width, height } = $("map").getBoundingClientRect(), f = plot.frame(width, height, limits(), limits());
    start(f.atX(event.clientX - left), f.atY(event.clientY - top));
  }
  $("map").addEventListener("pointerdown", (event) => { $("map").setPointerCapture(event.pointerId); point(event); });
  $("map").addEventListener("pointermove", (event) => { if (event.buttons & 1) point(event); });
  $("map").addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const size = ((box().high - box().low) / 50) * (event.shiftKey ? 0.1 : 1);
    start(view.start[0] + size * move[0], view.start[1] + size * move[1]);
  });

  function pause() {
    cancelAnimationFrame(playing);
    playing = null;
    $("play").textContent = t("play");
  }
  function show(step) { pause(); shown = Math.min(view.steps, Math.max(0, step)); draw(); }
  $("shown").addEventListener("input", () => show($("shown").valueAsNumber));
  $("back").addEventListener("click", () => show(shown - 1));
  $("forward").addEventListener("click", () => show(shown + 1));
  $("play").addEventListener("click", () => {
    if (playing) { pause(); return; }
    $("play").textContent = t("pause");
    let at = shown >= view.steps ? 0 : shown, before = performance.now();
    const tick = (now) => {
      // At speed 1 the whole way takes five seconds.
      at += ((now - before) / 5000) * view.steps * Number($("speed").value);
      before = now;
      shown = Math.min(view.steps, Math.floor(at));
      draw();
      if (shown < view.steps) playing = requestAnimationFrame(tick);
      else pause();
    };
    playing = requestAnimationFrame(tick);
  });

  // What one takes away.

  async function exported(kind) {
    if (kind === "code") {
      $("code-text").textContent = (await askJson("/code", facts())).code;
      $("code").showModal();
      return;
    }
    const untell = page.tell(t("exporting"));
    const blob = kind === "png"
      ? await new Promise((done) => $("map").toBlob(done, "image/png"))
      : await (await ask("/picture", { ...facts(), starts: [view.start], kind })).blob();
    const link = node("a", { href: URL.createObjectURL(blob), download: `optiscope-${view.formula === null ? view.landscape : "formula"}.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    untell();
  }
  for (const button of $("exports").querySelectorAll("button")) {
    button.addEventListener("click", () => exported(button.dataset.kind).catch((error) => page.report(error.message)));
  }
  $("code-copy").addEventListener("click", () => navigator.clipboard.writeText($("code-text").textContent));
  $("code-close").addEventListener("click", () => $("code").close());

  return { refresh, draw, restore, facts, place, shade: () => { shade(); draw(); } };
}
