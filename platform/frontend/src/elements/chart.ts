// <cp-chart src series label smooth log best days>: lines over training steps, or over days counted
// from 1970, with one summary sentence and the same numbers as a table. Lines differ by dash as well as by colour; colours come from the
// tokens. `smooth` and `log` offer a choice each; `best` names the series whose lowest point is said.
// Smoothing is of the drawing alone: sentence, table and file keep the numbers as they were measured.

import uPlot from "uplot";
import { button, element } from "../page";
import { dayOf, figure, number, words } from "../words";
import type { MetricRow } from "./live";

type Points = Map<number, number | null>; // null: measured and not a number, drawn as a gap
type Answer = { series: Record<string, [number, number | null][]> };

const DASHES: number[][] = [[], [7, 4], [2, 3], [10, 3, 2, 3], [1, 5]]; // five: as many as runs are compared
const HEIGHT = 240;
const OWN_AXIS = 6; // a series this many times smaller or larger gets the axis on the other side
const TABLE_ROWS = 200;
const SMOOTHING = 0.85; // share of the value before, in a running mean

function smoothed(values: (number | null | undefined)[]): (number | null | undefined)[] {
  let mean: number | null = null;
  return values.map((value) => {
    if (value == null) return value;
    mean = mean === null ? value : SMOOTHING * mean + (1 - SMOOTHING) * value;
    return mean;
  });
}

const readable = (name: string): string => name.replaceAll("_", " ");

export class Chart extends HTMLElement {
  #points = new Map<string, Points>();
  #plot: uPlot | null = null;
  #box = element("div", { className: "chart-plot" });
  #summary = element("p", { className: "chart-summary", textContent: words.chartLoading });
  #rows = element("div", { className: "table-box", tabIndex: 0 });
  #choices = element("div", { className: "row chart-choices" });
  #isSmooth = false;
  #isLog = false;
  #table = element("details", { className: "chart-table" });
  #sizes = new ResizeObserver(() => this.#resize());
  #scheme = matchMedia("(prefers-color-scheme: dark)");
  #due = 0;

  connectedCallback(): void {
    const label = this.getAttribute("label") ?? "";
    this.#box.role = "img";
    this.#box.ariaLabel = label;
    this.#rows.ariaLabel = label;
    this.#rows.role = "region";
    this.#table.replaceChildren(
      element("summary", { textContent: words.table }),
      button(words.csv, "plain", () => this.#save()),
      this.#rows,
    );
    this.#table.addEventListener("toggle", () => this.#fillTable());
    const caption = element("figcaption", {}, element("strong", { textContent: label }));
    this.#choices.replaceChildren(
      ...(this.hasAttribute("smooth") ? [this.#choice(words.smooth, (on) => (this.#isSmooth = on))] : []),
      ...(this.hasAttribute("log") ? [this.#choice(words.logAxis, (on) => (this.#isLog = on))] : []),
    );
    this.replaceChildren(element("figure", {}, caption, this.#choices, this.#box, this.#summary, this.#table));
    document.addEventListener("cp-metrics", this.#more);
    document.addEventListener("cp-again", this.#again);
    document.addEventListener("cp-theme", this.#redraw);
    this.#scheme.addEventListener("change", this.#redraw);
    this.#sizes.observe(this.#box);
    void this.#load();
  }

  disconnectedCallback(): void {
    document.removeEventListener("cp-metrics", this.#more);
    document.removeEventListener("cp-again", this.#again);
    document.removeEventListener("cp-theme", this.#redraw);
    this.#scheme.removeEventListener("change", this.#redraw);
    this.#sizes.disconnect();
    cancelAnimationFrame(this.#due);
    this.#plot?.destroy();
    this.#plot = null;
  }

  get #isByDay(): boolean {
    return this.hasAttribute("days");
  }

  #place(step: number): string {
    return this.#isByDay ? dayOf(step) : number(step);
  }

  #at(step: number): string {
    return this.#isByDay ? words.onDay(step) : words.atStep(step);
  }

  get #axis(): string {
    return this.#isByDay ? words.day : words.step;
  }

  #choice(text: string, set: (on: boolean) => void): HTMLLabelElement {
    const box = element("input", { type: "checkbox" });
    box.addEventListener("change", () => {
      set(box.checked);
      this.#redraw();
    });
    return element("label", { className: "chart-choice" }, box, text);
  }

  get #wanted(): string[] {
    return (this.getAttribute("series") ?? "").split(",").map((name) => name.trim()).filter(Boolean);
  }

  async #load(): Promise<void> {
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const { series } = (await answer.json()) as Answer;
      const wanted = this.#wanted;
      for (const [name, rows] of Object.entries(series)) {
        if (wanted.length && !wanted.includes(name)) continue;
        for (const [step, value] of rows) this.#add(step, name, value);
      }
      this.#redraw();
    } catch {
      this.#summary.textContent = words.chartFailed;
    }
  }

  #add(step: number, name: string, value: number | null): void {
    let points = this.#points.get(name);
    if (!points) this.#points.set(name, (points = new Map()));
    points.set(step, value !== null && Number.isFinite(value) ? value : null);
  }

  #more = (event: Event): void => {
    const wanted = this.#wanted;
    let changed = false;
    for (const [step, name, value] of (event as CustomEvent<MetricRow[]>).detail) {
      if (wanted.length && !wanted.includes(name)) continue;
      this.#add(step, name, value);
      changed = true;
    }
    if (changed) this.#redraw();
  };

  /** The stream opened, once more or late: what was told meanwhile is asked for. */
  #again = (): void => void this.#load();

  #names(): string[] {
    const known = [...this.#points.keys()];
    const wanted = this.#wanted;
    return wanted.length ? wanted.filter((name) => known.includes(name)) : known;
  }

  #steps(): number[] {
    const steps = new Set<number>();
    for (const name of this.#names()) for (const step of this.#points.get(name)?.keys() ?? []) steps.add(step);
    return [...steps].sort((one, other) => one - other);
  }

  #redraw = (): void => {
    cancelAnimationFrame(this.#due);
    // Behind the next paint: what was pressed shows itself before the lines are drawn anew.
    this.#due = requestAnimationFrame(() => setTimeout(() => this.isConnected && this.#draw()));
  };

  #draw(): void {
    const names = this.#names();
    const steps = this.#steps();
    this.#box.hidden = this.#table.hidden = !steps.length;
    this.#summary.textContent = steps.length ? names.map((name) => this.#sentence(name)).join("; ") + "." + this.#best() : words.chartEmpty;
    this.#plot?.destroy();
    this.#plot = null;
    if (!steps.length) return;
    // undefined: this series was not measured at that step, the line goes on; null stays a gap.
    const measured = names.map((name) => steps.map((step) => this.#points.get(name)?.get(step)));
    const columns = this.#isSmooth ? measured.map(smoothed) : measured;
    // A logarithm knows nothing at or below zero: such numbers are gaps on that axis.
    const isLog = this.#isLog && columns.some((column) => column.some((value) => (value ?? 0) > 0));
    if (isLog) for (const column of columns) for (const [at, value] of column.entries()) if ((value ?? 1) <= 0) column[at] = null;
    const scales = this.#scales(names);
    const axis = { stroke: this.#colour("axis"), grid: { stroke: this.#colour("line"), width: 1 }, ticks: { stroke: this.#colour("line"), width: 1 } };
    const values = (_: uPlot, splits: number[]): string[] => splits.map((split) => figure(split));
    this.#plot = new uPlot(
      {
        width: Math.max(200, this.#box.clientWidth),
        height: HEIGHT,
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: false }, ...(isLog ? { y: { distr: 3 as const }, far: { distr: 3 as const } } : {}) },
        axes: [
          { ...axis, label: this.#axis, labelSize: 18, labelFont: "12px system-ui", values: (_, splits) => splits.map((split) => this.#place(split)) },
          { ...axis, scale: "y", values, size: 56 },
          ...(scales.includes("far") ? [{ ...axis, grid: { show: false }, scale: "far", side: 1 as const, values, size: 56 }] : []),
        ],
        series: [
          { label: this.#axis, value: (_, value) => (value == null ? "–" : this.#place(value)) },
          ...names.map((name, index) => ({
            label: readable(name),
            scale: scales[index] ?? "y",
            stroke: this.#colour(String((index % 4) + 1)),
            dash: DASHES[index % DASHES.length] ?? [],
            width: 2,
            points: { show: steps.length < 40 },
            value: (_: uPlot, value: number | null) => (value == null ? "–" : figure(value)),
          })),
        ],
      },
      [steps, ...columns] as uPlot.AlignedData,
      this.#box,
    );
    this.#fillTable();
  }

  #scales(names: string[]): string[] {
    const largest = names.map((name) => Math.max(1e-9, ...[...(this.#points.get(name)?.values() ?? [])].map((value) => Math.abs(value ?? 0))));
    const first = largest[0] ?? 1;
    return largest.map((value) => (Math.max(value / first, first / value) > OWN_AXIS ? "far" : "y"));
  }

  #best(): string {
    const name = this.getAttribute("best") ?? "";
    const rows = [...(this.#points.get(name) ?? [])].filter((row): row is [number, number] => row[1] !== null);
    if (!rows.length) return "";
    const [step, value] = rows.reduce((best, row) => (row[1] < best[1] ? row : best));
    return " " + words.best(readable(name), value, step);
  }

  #sentence(name: string): string {
    const rows = [...(this.#points.get(name) ?? [])]
      .filter((row): row is [number, number] => row[1] !== null)
      .sort((one, other) => one[0] - other[0]);
    const [first, last] = [rows[0], rows[rows.length - 1]];
    if (!first || !last) return `${readable(name)}: –`;
    const low = rows.reduce((best, row) => (row[1] < best[1] ? row : best));
    const high = rows.reduce((best, row) => (row[1] > best[1] ? row : best));
    return words.chartSummary(readable(name), first[1], last[1], low[1], this.#at(low[0]), high[1], this.#at(high[0]));
  }

  /** The canvas knows no custom properties: a probe element resolves the role to a colour. */
  #colour(role: string): string {
    const probe = element("span", { className: `chart-probe-${role}` });
    this.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  }

  #resize(): void {
    if (this.#plot && this.#box.clientWidth) this.#plot.setSize({ width: this.#box.clientWidth, height: HEIGHT });
  }

  #fillTable(): void {
    if (!this.#table.open) return;
    const names = this.#names();
    const head = element("tr", {}, ...[this.#axis, ...names.map(readable)].map((name) => element("th", { scope: "col", textContent: name })));
    const body = this.#steps().slice(-TABLE_ROWS).map((step) =>
      element("tr", {}, element("th", { scope: "row", textContent: this.#place(step) }), ...names.map((name) => {
        const value = this.#points.get(name)?.get(step);
        return element("td", { className: "number", textContent: value == null ? "" : figure(value) });
      })),
    );
    this.#rows.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  }

  #save(): void {
    const names = this.#names();
    const lines = this.#steps().map((step) => [step, ...names.map((name) => this.#points.get(name)?.get(step) ?? "")].join(","));
    const file = new Blob([[this.#isByDay ? "days since 1970" : "step", ...names].join(","), "\n", lines.join("\n"), "\n"], { type: "text/csv" });
    const link = element("a", { href: URL.createObjectURL(file), download: `${names.join("-") || "chart"}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}
