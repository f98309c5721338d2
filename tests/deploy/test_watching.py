"""The rules of Prometheus and the dashboard of Grafana: expressions use what is there, and rules do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.test_reference import registries

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana" / "foldline.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# Prometheus' own, and those of its node exporter, which watches the machines of Kafka and PostgreSQL.
ELSEWHERE = {"up", "ALERTS", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
GIVEN_LABELS = {"instance", "job", "le", "fstype", "alertname", "alertstate"}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def names_in(expression: str) -> set[str]:
    """The metrics of an expression: the identifiers that are no function, no label, no word and no part of a string."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    return {name for name in re.findall(r"[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])", bare) if name not in WORDS}


def labels_in(expression: str) -> set[str]:
    """The labels by which an expression chooses or groups."""
    chosen = re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression)
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return {*chosen, *(name.strip() for names in grouped for name in names.split(","))} - {""}


@pytest.mark.parametrize(
    ("expression", "names", "labels"),
    [
        ('sum by (le, a) (rate(x_sum{b=~"5..",c!="y"}[5m])) / on (d) y > 0.5 or up', {"x_sum", "y", "up"}, {*"abcd", "le"}),
        ("histogram_quantile(0.99, sum by (le) (rate(x_bucket[$__rate_interval]))) or vector(0)", {"x_bucket"}, {"le"}),
        ("a:b:rate5m > 14.4 * 0.01 and absent(z)", {"a:b:rate5m", "z"}, set()),
    ],
)  # fmt: skip
def test_an_expression_is_taken_apart(expression: str, names: set[str], labels: set[str]) -> None:
    assert (names_in(expression), labels_in(expression)) == (names, labels)


def samples() -> Iterator[str]:
    """The names of everything that our services give to Prometheus."""
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "info": ["_info"], "gauge": [""]}
    for registry in registries():
        for family in registry.collect():
            yield from (family.name + ending for ending in endings[family.type])


def expressions() -> list[str]:
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    asked += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    return [rule["expr"] for rule in RULES] + asked


def test_every_expression_uses_what_is_there() -> None:
    known = {*samples(), *ELSEWHERE, *(rule["record"] for rule in RULES if "record" in rule)}
    assert {name for expression in expressions() for name in names_in(expression)} <= known
    labels = {"kind", "stage", "status", "route", "code", "error", "reason", "step", "topic", "partition"}  # as documented
    assert {name for expression in expressions() for name in labels_in(expression)} <= labels | GIVEN_LABELS


def test_what_chooses_a_bucket_names_one_that_there_is() -> None:
    bounds = {
        sample.labels["le"]
        for registry in registries()
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "foldline_freshness_seconds_bucket"
    }
    chosen = {bound for expression in expressions() for bound in re.findall(r'le="([^"]*)"', expression)}
    assert chosen == {"5.0"} <= bounds


def test_every_alert_is_described_and_says_whom_it_is_for() -> None:
    section = (ROOT / "docs" / "operations.md").read_text().partition("### Alerts")[2].partition("\n### ")[0]
    described = re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE)
    alerts = [rule for rule in RULES if "alert" in rule]
    assert sorted(described) == sorted((rule["alert"], rule["labels"]["severity"]) for rule in alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_panels_have_places_of_their_own_and_the_chosen_data_source() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
        }
        assert taken.isdisjoint(cells), panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        assert panel["title"]
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus' own tool, where it is: Debian's package `prometheus`, or what `PROMTOOL` names."""
    found = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


def done(*command: str) -> str:
    """What a command says, which has to go well."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_prometheus_takes_the_rules_and_they_do_what_they_say(promtool: str) -> None:
    assert f"{len(RULES)} rules found" in done(promtool, "check", "config", str(PROMETHEUS / "prometheus.yaml"))
    assert "SUCCESS" in done(promtool, "test", "rules", str(ROOT / "tests" / "deploy" / "alerts.test.yaml"))


def test_prometheus_understands_what_the_dashboard_asks(promtool: str, tmp_path: Path) -> None:
    asked = [target["expr"].replace("$__rate_interval", "5m") for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(asked)} rules found" in done(promtool, "check", "rules", str(file))
