// Draws every <figure data-chart="/url"> from the JSON there: {"times": [seconds], "unit": "events/s",
// "series": [{"label": "Items", "values": [1, null, …], "kind": "area" | "line" | "bars" | "steps"}]}.
// It follows the width of its place and light and dark, and asks again every data-refresh seconds while it is looked at.

const RETRY_SECONDS = 10;
const dark = matchMedia("(prefers-color-scheme: dark)");
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
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
    const { times, series } = this.data;
    this.plot?.destroy();
    this.plot = undefined;
    this.place.replaceChildren();
    this.list(series);
    if (times.length < 2) return this.say("Nothing to show yet");
    this.plot = new uPlot(this.options(series), [times, ...series.map(({ values }) => values)], this.place);
    this.tell(null);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (width && this.plot && (this.plot.width !== width || this.plot.height !== height)) this.plot.setSize({ width, height });
  }

  options(series) {
    const font = `12px ${getComputedStyle(this.place).fontFamily}`;
    const axis = { stroke: this.colour("--faint"), font, ticks: { show: false }, grid: { stroke: this.colour("--line"), width: 1 } };
    return {
      width: this.place.clientWidth,
      height: this.place.clientHeight,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.1 : 1] } },
      axes: [
        { ...axis, grid: { show: false }, space: 72, values: (_, splits, __, ___, step) => splits.map((at) => hour(at, step)) },
        { ...axis, size: 48, space: 36, values: (_, splits) => splits.map((value) => compact.format(value)) },
      ],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
      series: [{}, ...series.map((one, index) => this.line(one, index))],
    };
  }

  line({ kind = "line" }, index) {
    const stroke = this.colour(`--chart-${(index % 4) + 1}`);
    const paths = { bars: uPlot.paths.bars({ size: [0.7, 24], radius: 0.15 }), steps: uPlot.paths.stepped({ align: 1 }) }[kind];
    const fill = { area: this.colour(`--chart-${(index % 4) + 1}`, 0.12), bars: stroke }[kind];
    return { stroke, fill, paths, width: 1.75, points: { show: false }, spanGaps: false };
  }

  colour(name, alpha = 1) {
    const probe = this.probe ?? (this.probe = document.createElement("span"));
    this.figure.append(probe);
    probe.style.color = `color-mix(in srgb, var(${name}) ${alpha * 100}%, transparent)`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  list(series) {
    this.legend.hidden = false;
    this.legend.replaceChildren(...series.map(({ label }, index) => {
      const item = Object.assign(document.createElement("li"), { className: `c${(index % 4) + 1}`, textContent: `${label} ` });
      item.append(document.createElement("b"));
      return item;
    }));
  }

  tell(index) {
    const { times, series, unit = "" } = this.data;
    series.forEach(({ values }, place) => {
      const value = values[index ?? times.length - 1];
      this.legend.children[place].lastChild.textContent = value == null ? "–" : `${exact.format(value)} ${unit}`.trim();
    });
  }

  say(text) {
    this.place.replaceChildren(Object.assign(document.createElement("p"), { className: "none small", textContent: text }));
  }
}

function hour(seconds, step) {
  const text = new Date(seconds * 1000).toISOString();
  if (step >= 86400) return `${Number(text.slice(8, 10))} ${new Date(seconds * 1000).toLocaleString("en-GB", { month: "short", timeZone: "UTC" })}`;
  return step < 60 ? text.slice(11, 19) : text.slice(11, 16);
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
