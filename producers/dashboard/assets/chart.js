// Draws every <figure data-chart="/url"> from the JSON there: {"times": [seconds], "unit": "events/s",
// "series": [{"label": "Items", "values": [1, null, …], "kind": "area" | "line" | "bars" | "steps"}]}; with "stacked": true as
// areas, each upon the ones before it. A value between two that are missing is a dot.
// It follows the width of its place and light and dark, and asks again every data-refresh seconds while it is looked at.

const RETRY_SECONDS = 10;
const dark = matchMedia("(prefers-color-scheme: dark)");
const COLOURS = ["accent", "green", "amber", "red", "grey"];
const colourOf = ({ colour }, index) => colour ?? COLOURS[index % COLOURS.length];
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
const exact = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.place = figure.querySelector(".plot");
    this.legend = figure.querySelector(".legend");
    new ResizeObserver(() => this.resize()).observe(this.place);
    dark.addEventListener("change", () => this.draw());
    this.load();
  }

  async load() {
    let seconds = Number(this.figure.dataset.refresh ?? 0);
    if (!document.hidden) {
      try {
        const answer = await fetch(this.figure.dataset.chart, { headers: { Accept: "application/json" } });
        if (!answer.ok) throw new Error(`${answer.status}`);
        this.data = await answer.json();
        this.draw();
      } catch {
        if (!this.data) this.say("The figures cannot be had at the moment");
        seconds ||= RETRY_SECONDS;
      }
    }
    if (seconds && this.figure.isConnected) setTimeout(() => this.load(), seconds * 1000);
  }

  draw() {
    if (!this.data) return;
    const { times, series, stacked } = this.data;
    this.plot?.destroy();
    this.plot = undefined;
    this.place.replaceChildren();
    this.legend.hidden = times.length < 2;
    if (times.length < 2) return this.say("Nothing to show yet");
    this.list(series);
    const values = series.map((one) => one.values);
    this.plot = new uPlot(this.options(), [times, ...(stacked ? heaped(values) : values)], this.place);
    this.place.append((this.at = Object.assign(document.createElement("span"), { className: "at" })));
    this.tell(null);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (width && this.plot && (this.plot.width !== width || this.plot.height !== height)) this.plot.setSize({ width, height });
  }

  options() {
    const { times, series, stacked } = this.data;
    const font = `12px ${getComputedStyle(this.place).fontFamily}`;
    const axis = { stroke: this.colour("--faint"), font, ticks: { show: false }, grid: { stroke: this.colour("--line"), width: 1 } };
    const beside = series.some(({ kind }) => kind === "bars") ? (times.at(-1) - times[0]) / (times.length - 1) / 2 : 0;
    return {
      width: this.place.clientWidth,
      height: this.place.clientHeight,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: { range: (_, from, to) => [from - beside, to + beside] },
        y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.1 : 1] },
      },
      axes: [
        { ...axis, size: 28, grid: { show: false }, space: 72, values: (_, splits, __, ___, step) => splits.map((at) => tick(at, step)) },
        { ...axis, size: 48, space: 36, values: (_, splits) => splits.map((value) => compact.format(value)) },
      ],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
      bands: stacked ? series.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
      series: [{}, ...series.map((one, index) => this.line(one, index))],
    };
  }

  line(one, index) {
    const name = `--chart-${colourOf(one, index)}`;
    const stroke = this.colour(name);
    const paths = { bars: uPlot.paths.bars({ size: [0.7, 24], radius: 0.15 }), steps: uPlot.paths.stepped({ align: 1 }) }[one.kind];
    const fill = { area: this.colour(name, this.data.stacked ? 0.3 : 0.12), bars: stroke }[one.kind];
    const filter = (plot, place) => (one.kind === "bars" ? [] : alone(plot.data[place]));
    return { stroke, fill, paths, width: 1.75, points: { show: true, size: 5, width: 0, fill: stroke, filter }, spanGaps: false };
  }

  colour(name, share = 1, ground = "transparent") {
    const probe = this.probe ?? (this.probe = document.createElement("span"));
    this.figure.append(probe);
    probe.style.color = `color-mix(in srgb, var(${name}) ${share * 100}%, ${ground})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  list(series) {
    const entry = (className, text) => {
      const item = Object.assign(document.createElement("li"), { className, textContent: text });
      item.append(document.createElement("b"));
      return item;
    };
    this.legend.replaceChildren(...series.map((one, index) => entry(colourOf(one, index), `${one.label} `)));
  }

  tell(index) {
    const { times, series, unit = "" } = this.data;
    this.at.textContent = index == null ? "" : moment(times[index]);
    series.forEach(({ values }, place) => {
      const value = values[index ?? times.length - 1];
      this.legend.children[place].lastChild.textContent = value == null ? "–" : `${exact.format(value)} ${unit}`.trim();
    });
  }

  say(text) {
    this.place.replaceChildren(Object.assign(document.createElement("p"), { className: "none small", textContent: text }));
  }
}

// Each series on top of those before it.
function heaped(all) {
  const sums = all[0].map(() => 0);
  return all.map((values) => values.map((value, index) => (value == null ? null : (sums[index] += value))));
}

// The places of values that no line leads to.
function alone(values) {
  return [...values.keys()].filter((place) => values[place] != null && values[place - 1] == null && values[place + 1] == null);
}

function day(date) {
  return `${date.getUTCDate()} ${date.toLocaleString("en-GB", { month: "short", timeZone: "UTC" })}`;
}

function tick(seconds, step) {
  const date = new Date(seconds * 1000);
  if (step >= 86400 || seconds % 86400 === 0) return day(date);
  return date.toISOString().slice(11, step < 60 ? 19 : 16);
}

function moment(seconds) {
  const date = new Date(seconds * 1000);
  return `${day(date)}, ${date.toISOString().slice(11, 19)} UTC`;
}

const drawn = new WeakSet();
const drawAll = (root) => {
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    if (drawn.has(figure)) continue;
    drawn.add(figure);
    new Chart(figure);
  }
};
drawAll(document);
document.addEventListener("htmx:afterSettle", ({ target }) => drawAll(target));
