"""Pictures and tables of what the growth curves came to, written into the pages between their marks.

A block of a page begins with `<!-- growth: NAME -->` and ends with `<!-- end -->`; what stands between is written here, the
rest by people. A block whose curve was not measured stays as it is.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

Curve: TypeAlias = Sequence[Mapping[str, Any]]

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
DATA: Final = DOCS / "growth"
PAGES: Final = ("growth.md", "capacity.md")
BLOCK: Final = re.compile(r"(<!-- growth: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

# What the points of each curve are, and whether its costs are too far apart for an axis that is not logarithmic.
TITLES: Final = {
    "records": ("records in the table, upserts over all of them", False),
    "beside": ("records in the table, upserts over 10,000 of them", False),
    "organisations": ("organisations, of 100,000 records together", False),
    "keys": ("which of a million records upserts are of", False),
    "attributes": ("attributes of an upsert", True),
    "processes": ("processors, of 100,000 records together", False),
    "gateway": ("records in a request to the gateway", True),
}
SERVICE: Final = {"gateway": "gateway"}
LINES: Final = {
    "wall_us": ("wall time", "#9a6ff0"),
    "service_us": ("processors", "#388bfd"),
    "postgres_us": ("PostgreSQL", "#2da44e"),
    "broker_us": ("broker", "#d9730d"),
}
TICKS: Final = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
# Seconds of a core in a second that are used before latency suffers.
USED: Final = 0.7
# Stacks among which a million events a second are divided, by organisation.
CELLS: Final = 16
MACHINES: Final = (2, 4, 8, 16)
RATES: Final = (1_000, 10_000, 100_000, 1_000_000)


def draw(data: Path) -> None:
    """Draws every curve that is kept, beside it, and writes the pages of the documentation anew from `docs/growth`."""
    for name in curves(data):
        (data / f"{name}.svg").write_bytes(picture(name, curves(data)[name]))
    if data.resolve() == DATA:
        for page in PAGES:
            (DOCS / page).write_text(written((DOCS / page).read_text(), curves(data)))


def curves(data: Path) -> dict[str, Curve]:
    """The points of every curve that is kept."""
    files = {name: data / f"{name}.json" for name in TITLES}
    return {name: json.loads(file.read_text())["points"] for name, file in files.items() if file.exists()}


def written(page: str, found: Mapping[str, Curve]) -> str:
    """A page with its blocks written anew."""

    def block(match: re.Match[str]) -> str:
        begin, name, before, end = match.groups()
        if name in TITLES:
            text = _curve(name, found[name]) if name in found else before
        else:
            needed, write = BLOCKS[name]
            text = write(found) if set(needed) <= found.keys() else before
        return begin + text + end

    return BLOCK.sub(block, page)


def picture(name: str, points: Curve) -> bytes:
    """A curve as SVG: what an event costs, by part. It can be read on light ground and on dark."""
    import pygal  # of the dependency group `bench`: only who draws needs it
    from pygal.style import Style

    title, logarithmic = TITLES[name]
    # PostgreSQL takes next to nothing for a request, which has no place on such an axis.
    lines = {key: line for key, line in LINES.items() if name != "gateway" or key != "postgres_us"}
    style = Style(
        background="transparent", plot_background="transparent", opacity=".9", stroke_width="2.5",
        foreground="#768390", foreground_strong="#768390", foreground_subtle="#768390", guide_stroke_color="#76839055",
        major_guide_stroke_color="#76839055", colors=[colour for _, colour in lines.values()],
        font_family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif",
        title_font_size=17, label_font_size=14, major_label_font_size=14, legend_font_size=14,
    )  # fmt: skip
    chart = pygal.Line(
        style=style, js=[], no_prefix=True, pretty_print=True, width=840, height=400,
        margin_right=40, dots_size=4, show_minor_y_labels=True,
        title=f"µs for an event, by {title}", logarithmic=logarithmic,
        range=None if logarithmic else (0, 1.1 * max(point["wall_us"] for point in points)),
    )  # fmt: skip
    if logarithmic:
        low, high = (pick(point[key] for point in points for key in lines) for pick in (min, max))
        chart.y_labels = TICKS[bisect_right(TICKS, low) - 1 : bisect_left(TICKS, high) + 1]
    chart.x_labels = [point["label"] for point in points]
    for key, (label, _) in lines.items():
        label = SERVICE.get(name, label) if key == "service_us" else label
        chart.add(label, [point[key] for point in points])
    rendered: bytes = chart.render()
    return rendered.rstrip() + b"\n"


def _curve(name: str, points: Curve) -> str:
    title, _ = TITLES[name]
    head = [
        title, "wall, µs", "lowest to highest", f"{SERVICE.get(name, 'processors')}, µs", "PostgreSQL, µs", "broker, µs",
        "states out", "WAL, bytes", "memory, MB",
    ]  # fmt: skip
    rows = [
        [
            point["label"], _us(point["wall_us"]), " – ".join(map(_us, point["wall_us_range"])), _us(point["service_us"]),
            _us(point["postgres_us"]), _us(point["broker_us"]), f"{point['states']:.2f}", f"{point['wal_bytes']:,}",
            str(point["memory_mb"]),
        ]
        for point in points
    ]  # fmt: skip
    return f"![What an event costs, by {title}](growth/{name}.svg)\n\n{_table(head, rows)}"


def _ratios(found: Mapping[str, Curve]) -> str:
    """What must hold: the cost of an event where there is most, over where there is least; and the most memory."""
    rows = []
    for name in ("records", "beside", "organisations"):
        first, last = found[name][0], found[name][-1]
        rows.append(
            [f"{TITLES[name][0]}: {last['label']} over {first['label']}"]
            + [f"{last[key] / first[key]:.2f}" for key in ("wall_us", "service_us", "postgres_us", "broker_us")]
            + [f"{last['wall_us'] / last['states'] / (first['wall_us'] / first['states']):.2f}"]
        )
    memory = max(point["memory_mb"] for name, points in found.items() if name != "gateway" for point in points)
    table = _table(
        ["ratio of the cost of an event", "wall", "processors", "PostgreSQL", "broker", "wall, a state out"], rows
    )
    return f"{table}\nThe most memory that a processor had in any measurement: **{memory} MB**.\n"


def _costs(found: Mapping[str, Curve]) -> str:
    """Seconds of a core and gigabytes for a million events, by part."""
    rows = []
    for label, point in _cases(found).items():
        service = f"{point['service_us']:.1f}"
        folds = point["states"] > 0
        rows.append(
            [
                label, "" if folds else service, f"{point['broker_us']:.1f}", service if folds else "",
                f"{point['postgres_us']:.1f}", f"{point['log_bytes'] / 1000:.2f}" if not folds else "",
                f"{point['wal_bytes'] / 1000:.2f}", f"{point['state_bytes'] / 1000:.2f}" if folds else "",
            ]
        )  # fmt: skip
    head = [
        "a million events", "gateway, s", "broker, s", "processors, s", "PostgreSQL, s", "log, GB", "WAL, GB",
        "state topic, GB",
    ]  # fmt: skip
    return _table(head, rows)


def _cases(found: Mapping[str, Curve]) -> dict[str, Mapping[str, Any]]:
    gateway = {f"received, {point['label']} in a request": point for point in found["gateway"]}
    table = {f"folded, {point['label']} records in the table": point for point in found["records"]}
    return gateway | table


def _machine(found: Mapping[str, Curve]) -> str:
    """Events a second that machines of some cores receive and fold, with all parts on each of them."""
    received = _received(found)
    rows = []
    for folded in found["records"]:
        cost = sum(point[key] for point in (received, folded) for key in ("service_us", "postgres_us", "broker_us"))
        rows.append([folded["label"], _us(cost), *(f"{1e6 * USED * cores / cost:,.0f}" for cores in MACHINES)])
    return _table(["records in the table", "an event, µs of a core", *(f"{cores} cores" for cores in MACHINES)], rows)


def _plan(found: Mapping[str, Curve]) -> str:
    """Cores and bandwidth for rates of events: the costs, times the rate, over the share of a core that may be used."""
    received, folded = _received(found), _folded(found)
    broker = received["broker_us"] + folded["broker_us"]
    rows = []
    for rate in RATES:
        cores = [received["service_us"], broker, folded["service_us"], folded["postgres_us"]]
        rows.append(
            [f"{rate:,}", *(f"{rate * cost / 1e6 / USED:.1f}" for cost in (*cores, sum(cores)))]
            + [f"{rate * folded[key] / 1e6:,.1f}" for key in ("wal_bytes", "state_bytes")]
            + [f"{rate * received['log_bytes'] / 1e6:,.1f}"]
        )
    head = [
        "events/s", "gateway, cores", "broker, cores", "processors, cores", "PostgreSQL, cores", "together, cores",
        "WAL, MB/s", "state topic, MB/s", "log, MB/s",
    ]  # fmt: skip
    return _table(head, rows)


def _million(found: Mapping[str, Curve]) -> str:
    """The arithmetic of a million events a second, line by line: in all, and for one of `CELLS` stacks."""
    received, folded = _received(found), _folded(found)
    costs = {
        "gateway": received["service_us"],
        "broker": received["broker_us"] + folded["broker_us"],
        "processors": folded["service_us"],
        "PostgreSQL": folded["postgres_us"],
    }
    rows = [
        [part, f"{cost:.1f} µs", f"1,000,000 × {cost:.1f} µs ÷ {USED} = {cost / USED:.0f}", f"{cost / USED / CELLS:.1f}"]
        for part, cost in (costs | {"together": sum(costs.values())}).items()
    ]
    sizes = {"WAL": folded["wal_bytes"], "log": received["log_bytes"], "state topic": folded["state_bytes"]}
    rows += [
        [name, f"{size:,} bytes", f"1,000,000 × {size:,} bytes = {size:,} MB/s", f"{size / CELLS:,.1f} MB/s"]
        for name, size in sizes.items()
    ]
    return _table(["", "an event", "in all, cores", f"in each of {CELLS} stacks, cores"], rows)


def _received(found: Mapping[str, Curve]) -> Mapping[str, Any]:
    return next(point for point in found["gateway"] if point["label"] == "100")


def _folded(found: Mapping[str, Curve]) -> Mapping[str, Any]:
    return found["records"][-1]


def _us(number: float) -> str:
    return f"{number:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


BLOCKS: Final[dict[str, tuple[Sequence[str], Callable[[Mapping[str, Curve]], str]]]] = {
    "ratios": (("records", "beside", "organisations"), _ratios),
    "costs": (("records", "gateway"), _costs),
    "machine": (("records", "gateway"), _machine),
    "plan": (("records", "gateway"), _plan),
    "million": (("records", "gateway"), _million),
}
