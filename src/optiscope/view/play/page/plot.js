// Drawing on canvases: colours, axes, contours, ways, curves, arrows.

// Okabe & Ito (2008), told apart by colour-blind readers; the last is the ink's.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8A7F00", null];
const BRIGHT = ["#56A9E0", "#F0823C", "#2FC79D", "#DE9CC0", "#8FD0F5", "#F2BC4B", "#D3C640", null];
const DASHES = [[], [7, 3], [2, 2], [8, 3, 2, 3]];

export const dark = () => document.documentElement.dataset.theme === "dark";
export const ink = () => (dark() ? "#ececec" : "#1a1a1a");
export const quiet = () => (dark() ? "#b4b4b4" : "#595959");
export const paper = () => (dark() ? "#16181a" : "#ffffff");
export const colour = (i) => (dark() ? BRIGHT : COLOURS)[i % COLOURS.length] || ink();
export const dash = (i) => DASHES[i % DASHES.length];

/** The context of a canvas, as many pixels as the screen has, in units of CSS pixels. */
export function begin(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.fillStyle = paper();
  c.fillRect(0, 0, width, height);
  c.font = "12px system-ui, sans-serif";
  return { c, width, height };
}

/** The frame of a picture: its limits, and where they lie on the canvas. */
export function frame(width, height, x, y, margin = 0) {
  const [left, right, top, bottom] = margin ? [46, 8, 8, 26] : [0, 0, 0, 0];
  const w = width - left - right, h = height - top - bottom;
  return {
    x, y, left, top, w, h,
    px: (value) => left + ((value - x[0]) / (x[1] - x[0])) * w,
    py: (value) => top + h - ((value - y[0]) / (y[1] - y[0])) * h,
    atX: (pixel) => x[0] + ((pixel - left) / w) * (x[1] - x[0]),
    atY: (pixel) => y[0] + ((top + h - pixel) / h) * (y[1] - y[0]),
  };
}

export function axes(c, f, { xLabel = "", logY = false, yLabel = "" } = {}) {
  c.strokeStyle = quiet();
  c.fillStyle = quiet();
  c.lineWidth = 1;
  c.strokeRect(f.left + 0.5, f.top + 0.5, f.w, f.h);
  c.textAlign = "center";
  for (const value of ticks(...f.x)) c.fillText(short(value), Math.min(f.px(value), f.left + f.w - 10), f.top + f.h + 14);
  c.textAlign = "end";
  for (const value of ticks(...f.y, logY && f.y[1] - f.y[0] > 2.5)) {
    const at = f.py(value);
    c.globalAlpha = 0.25;
    c.beginPath(); c.moveTo(f.left, at); c.lineTo(f.left + f.w, at); c.stroke();
    c.globalAlpha = 1;
    c.fillText(short(logY ? 10 ** value : value, 2), f.left - 4, at + 4);
  }
  c.textAlign = "end";
  c.fillText(xLabel, f.left + f.w - 4, f.top + f.h - 5);
  c.textAlign = "start";
  c.fillText(yLabel, f.left + 5, f.top + 13);
}

function ticks(low, high, whole = false) {
  const raw = (high - low) / 5, size = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw);
  if (whole) step = Math.max(1, Math.round(step));
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * step; value += step) found.push(value);
  return found;
}

export function short(value, digits = 4) {
  if (value === null || !Number.isFinite(value)) return "∞";
  const rounded = Number(value.toPrecision(digits)), size = Math.abs(rounded);
  return size && (size < 1e-3 || size >= 1e6) ? rounded.toExponential().replace("e+", "e") : String(rounded);
}

/** A picture of heights on a side × side grid (from the low corner), as contours in shades, to be drawn as an image. */
export function contours(heights, side) {
  // Quantiles as levels: a narrow valley shows as well as a wide bowl.
  const sorted = Float32Array.from(heights.filter(Number.isFinite)).sort();
  const levels = Array.from({ length: 24 }, (_, i) => sorted[Math.floor((i / 24) ** 1.5 * (sorted.length - 1))]);
  const size = 2 * side, image = new OffscreenCanvas(size, size), c = image.getContext("2d");
  const data = c.createImageData(size, size), bands = new Uint8Array(size * size);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      // Bilinear between the grid's points, which lie on the box's edge too.
      const u = (column / (size - 1)) * (side - 1), v = (1 - row / (size - 1)) * (side - 1);
      const i = Math.min(side - 2, Math.floor(u)), j = Math.min(side - 2, Math.floor(v)), a = u - i, b = v - j;
      const at = j * side + i;
      const height = (1 - b) * ((1 - a) * heights[at] + a * heights[at + 1]) + b * ((1 - a) * heights[at + side] + a * heights[at + side + 1]);
      let low = 0, high = levels.length;
      while (low < high) { const middle = (low + high) >> 1; if (levels[middle] < height) low = middle + 1; else high = middle; }
      bands[row * size + column] = Number.isFinite(height) ? low : 255;
    }
  }
  for (let at = 0; at < bands.length; at++) {
    const band = bands[at], edge = (at % size && band !== bands[at - 1]) || (at >= size && band !== bands[at - size]);
    const depth = Math.min(1, band / levels.length);
    let shade = dark() ? 26 + 62 * depth : 252 - 72 * depth;
    if (edge) shade += dark() ? 34 : -38;
    data.data.set([shade, shade, shade, 255], 4 * at);
  }
  c.putImageData(data, 0, 0);
  return image;
}

/** The way through points [x, y, x, y, …] from `from` to `to`; points within a pixel of the last are passed over. */
export function way(c, f, points, from, to) {
  c.beginPath();
  let lastX = f.px(points[2 * from]), lastY = f.py(points[2 * from + 1]);
  c.moveTo(lastX, lastY);
  for (let i = from + 1; i <= to; i++) {
    let x = f.px(points[2 * i]), y = f.py(points[2 * i + 1]);
    if (!Number.isFinite(x) || !Number.isFinite(y)) break;
    // Far outside the canvas is outside all the same, and keeps the numbers drawable.
    x = Math.max(-1e5, Math.min(1e5, x));
    y = Math.max(-1e5, Math.min(1e5, y));
    if (Math.abs(x - lastX) + Math.abs(y - lastY) < 0.7 && i < to) continue;
    c.lineTo(x, y);
    [lastX, lastY] = [x, y];
  }
  c.stroke();
  return [lastX, lastY];
}

export function dot(c, x, y, size, fill, edge = paper()) {
  c.beginPath();
  c.arc(x, y, size, 0, 2 * Math.PI);
  c.fillStyle = fill;
  c.fill();
  c.strokeStyle = edge;
  c.lineWidth = 1.5;
  c.setLineDash([]);
  c.stroke();
}

/** The mark of a stationary point: a star-like diamond, a triangle, a cross. */
export function mark(c, x, y, kind, size = 6) {
  c.setLineDash([]);
  c.beginPath();
  if (kind === "minimum") for (let i = 0; i < 8; i++) c.lineTo(x + (i % 2 ? 0.45 : 1.2) * size * Math.sin((i * Math.PI) / 4), y - (i % 2 ? 0.45 : 1.2) * size * Math.cos((i * Math.PI) / 4));
  else if (kind === "maximum") { c.moveTo(x, y - size); c.lineTo(x + size, y + size * 0.8); c.lineTo(x - size, y + size * 0.8); }
  else { c.moveTo(x - size, y); c.lineTo(x, y - size * 0.4); c.lineTo(x + size, y); c.lineTo(x, y + size * 0.4); }
  c.closePath();
  c.fillStyle = paper();
  c.fill();
  c.strokeStyle = ink();
  c.lineWidth = 1.2;
  c.stroke();
}

export function arrow(c, x, y, dx, dy, stroke, label, pattern = []) {
  const length = Math.hypot(dx, dy);
  if (!(length > 1)) return;
  c.strokeStyle = c.fillStyle = stroke;
  c.lineWidth = 2.5;
  c.setLineDash(pattern);
  c.beginPath(); c.moveTo(x, y); c.lineTo(x + dx, y + dy); c.stroke();
  c.setLineDash([]);
  const a = Math.atan2(dy, dx), head = Math.min(10, length);
  c.beginPath();
  c.moveTo(x + dx, y + dy);
  c.lineTo(x + dx - head * Math.cos(a - 0.4), y + dy - head * Math.sin(a - 0.4));
  c.lineTo(x + dx - head * Math.cos(a + 0.4), y + dy - head * Math.sin(a + 0.4));
  c.fill();
  c.font = "bold 13px system-ui, sans-serif";
  c.textAlign = dx < 0 ? "end" : "start";
  c.lineWidth = 3;
  c.strokeStyle = paper();
  c.strokeText(label, x + dx + 5 * Math.sign(dx), y + dy + (dy > 0 ? 14 : -5));
  c.fillText(label, x + dx + 5 * Math.sign(dx), y + dy + (dy > 0 ? 14 : -5));
}

/** Curves on a log axis: each {values, colour, dash, low, high}, the last two a band. The limits come from what is finite. */
export function curves(canvas, lines, { at = (i) => i, last, cursor = null, xLabel, yLabel }) {
  const { c, width, height } = begin(canvas);
  let low = Infinity, high = -Infinity, first = -Infinity;
  for (const { values } of lines) {
    if (values.length) first = Math.max(first, values[0]);
    for (const value of values) if (value > 0 && Number.isFinite(value)) { if (value < low) low = value; if (value > high) high = value; }
  }
  if (!(low <= high)) [low, high] = [0.1, 1];
  // What has blown up leaves the picture instead of flattening the rest.
  high = Math.min(high, Math.max(10 * first, 10 * low));
  low = Math.max(low, high * 1e-14);
  const y = [Math.log10(low) - 0.1, Math.log10(high) + 0.1];
  const f = frame(width, height, [0, Math.max(1, last)], y, 1);
  axes(c, f, { xLabel, yLabel, logY: true });
  c.save();
  c.beginPath(); c.rect(f.left, f.top, f.w, f.h); c.clip();
  const log = (value) => f.py(value > 0 ? Math.log10(value) : -400);
  for (const { values, colour: stroke, dash: pattern, low: under, high: over } of lines) {
    if (under) {
      c.fillStyle = stroke;
      c.globalAlpha = 0.2;
      c.beginPath();
      const there = values.map((v, i) => i).filter((i) => Number.isFinite(values[i]) && values[i] !== null);
      for (const i of there) c.lineTo(f.px(at(i)), log(over[i]));
      for (const i of there.reverse()) c.lineTo(f.px(at(i)), log(Math.max(under[i], 10 ** y[0])));
      c.fill();
      c.globalAlpha = 1;
    }
    c.strokeStyle = stroke;
    c.lineWidth = 1.8;
    c.setLineDash(pattern);
    c.beginPath();
    for (let i = 0; i < values.length; i++) {
      if (values[i] === null || !Number.isFinite(values[i])) break;
      c.lineTo(f.px(at(i)), log(values[i]));
    }
    c.stroke();
  }
  c.setLineDash([]);
  if (cursor !== null) {
    c.strokeStyle = ink();
    c.lineWidth = 1;
    c.beginPath(); c.moveTo(f.px(cursor), f.top); c.lineTo(f.px(cursor), f.top + f.h); c.stroke();
  }
  c.restore();
}
