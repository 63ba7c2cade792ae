// The list of rules: which run, and a slider for every hyperparameter that a rule declares.

import { t } from "./words.js";
import { colour, dash } from "./plot.js";

const POSITIONS = 1000;

/** The value at a slider's position, as the field's own search space lays it out. */
export function valueAt(field, position) {
  const u = position / POSITIONS;
  if (field.scale === "LogUniform") return round(field.low * (field.high / field.low) ** u);
  if (field.scale === "OneMinusLogUniform") return 1 - round(field.high * (field.low / field.high) ** u);
  return round(field.low + (field.high - field.low) * u);
}

export function positionOf(field, value) {
  let u = (value - field.low) / (field.high - field.low);
  if (field.scale === "LogUniform") u = Math.log(value / field.low) / Math.log(field.high / field.low);
  if (field.scale === "OneMinusLogUniform") u = Math.log((1 - value) / field.high) / Math.log(field.low / field.high);
  return Math.round(POSITIONS * Math.min(1, Math.max(0, u)));
}

const round = (value) => Number(value.toPrecision(3));
const shown = (value) => Number(value.toPrecision(6));

export const described = (catalogue, name) => catalogue.rules.find((rule) => rule.name === name);

/** A rule to begin with: its own defaults, but steps that are seen on a landscape. */
export function fresh(catalogue, name) {
  const lr = described(catalogue, name)?.fields.find((field) => field.name === "lr");
  return { rule: name, on: true, fields: lr && lr.value < 0.01 ? { lr: 0.1 } : {} };
}

export const running = (list) => list.filter((entry) => entry.on);
export const wired = (list) => running(list).map(({ rule, fields }) => ({ rule, fields }));

/**
 * Draw the list into `home`. `changed` is told of every change.
 *
 * `list` is an array of {rule, on, fields}, changed in place; `most` how many it may hold.
 */
export function editor(home, catalogue, list, most, changed) {
  const draw = () => {
    home.replaceChildren(...list.map((entry, i) => card(entry, i)), adder());
  };

  const redraw = (focus) => {
    draw();
    (home.querySelector(focus) || home.querySelector("select")).focus();
    changed();
  };

  function card(entry, i) {
    const facts = described(catalogue, entry.rule);
    const box = node("fieldset", { className: entry.on ? "" : "off" });
    const swatch = node("span", { className: "swatch" });
    swatch.style.borderTopColor = colour(i);
    swatch.style.borderTopStyle = ["solid", "dashed", "dotted", "dashed"][i % 4];
    const tick = node("input", { type: "checkbox", checked: entry.on });
    tick.addEventListener("change", () => { entry.on = tick.checked; box.classList.toggle("off", !entry.on); changed(); });
    const name = node("label", {}, tick, ` ${entry.rule}`);
    const remove = node("button", { className: "remove", type: "button", textContent: "×", disabled: list.length === 1 });
    remove.setAttribute("aria-label", `${t("remove")} ${entry.rule}`);
    remove.addEventListener("click", () => { list.splice(i, 1); redraw("button.add"); });
    const fields = node("div", { className: "fields" }, ...facts.fields.filter((f) => f.value !== null).map((f) => slider(entry, f, i)));
    const rare = [
      ...facts.fields.filter((f) => f.value === null).map((f) => optional(entry, f, i)),
      ...Object.entries(facts.variants).map(([field, choices]) => variant(entry, field, choices)),
    ];
    if (rare.length) fields.append(node("details", {}, node("summary", { textContent: t("variants") }), ...rare));
    box.append(node("legend", {}, swatch, name, remove), fields);
    return box;
  }

  function slider(entry, field, i) {
    const id = `${home.id}-${i}-${field.name}`;
    const value = () => entry.fields[field.name] ?? field.value ?? valueAt(field, POSITIONS / 2);
    const range = node("input", { type: "range", min: 0, max: POSITIONS, step: 1, id, value: positionOf(field, value()) });
    const box = node("input", { type: "number", step: "any", value: shown(value()) });
    box.setAttribute("aria-label", t("valueOf", { field: `${entry.rule} ${field.name}` }));
    range.setAttribute("aria-label", `${entry.rule} ${field.name}`);
    range.setAttribute("aria-valuetext", shown(value()));
    const set = (given) => {
      entry.fields[field.name] = given;
      range.setAttribute("aria-valuetext", shown(given));
      changed();
    };
    range.addEventListener("input", () => { const given = valueAt(field, range.valueAsNumber); box.value = shown(given); set(given); });
    box.addEventListener("change", () => {
      if (!Number.isFinite(box.valueAsNumber)) { box.value = shown(value()); return; }
      range.value = positionOf(field, box.valueAsNumber);
      set(box.valueAsNumber);
    });
    return node("div", { className: "field" }, node("label", { htmlFor: id, textContent: field.name }), range, box);
  }

  function optional(entry, field, i) {
    const tick = node("input", { type: "checkbox", checked: entry.fields[field.name] !== undefined });
    const line = node("div", {}, node("label", {}, tick, ` ${field.name}`));
    const show = () => {
      line.querySelector(".field")?.remove();
      if (tick.checked) line.append(slider(entry, field, i));
    };
    tick.addEventListener("change", () => {
      if (tick.checked) entry.fields[field.name] = valueAt(field, POSITIONS / 2);
      else delete entry.fields[field.name];
      show();
      changed();
    });
    show();
    return line;
  }

  function variant(entry, field, choices) {
    const select = node("select", {}, ...choices.map((choice) => node("option", { textContent: String(choice) })));
    select.selectedIndex = Math.max(0, choices.indexOf(entry.fields[field]));
    select.addEventListener("change", () => {
      if (select.selectedIndex) entry.fields[field] = choices[select.selectedIndex];
      else delete entry.fields[field];
      changed();
    });
    return node("label", {}, `${field} `, select);
  }

  function adder() {
    const select = node("select", {}, ...catalogue.rules.map((rule) => node("option", { textContent: rule.name })));
    select.setAttribute("aria-label", t("rule"));
    const button = node("button", { className: "add", type: "button", textContent: t("addRule"), disabled: list.length >= most });
    button.addEventListener("click", () => { list.push(fresh(catalogue, select.value)); redraw("fieldset:last-of-type input"); });
    return node("div", { className: "row" }, select, button);
  }

  draw();
  return draw;
}

/** An element with properties and children. */
export function node(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A table of texts, the first row its head. */
export function table(element, [head, ...rows]) {
  const row = (cells, tag) => node("tr", {}, ...cells.map((cell, i) => {
    const made = node(i || !cell ? (cell ? tag : "td") : "th", { textContent: cell });
    if (made.tagName === "TH") made.scope = tag === "th" ? "col" : "row";
    return made;
  }));
  element.replaceChildren(node("thead", {}, row(head, "th")), node("tbody", {}, ...rows.map((cells) => row(cells, "td"))));
}
