"""The files in prometheus/ against themselves and the metrics that the server exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from prometheus_files import (
    CONFIGURATION,
    DASHBOARD,
    GRAFANA_VALUES,
    PROMETHEUS,
    PROVISIONING,
    RULE_TESTS,
    expressions,
    panels,
    rules,
)
from promql import grouping_labels, selectors
from researchflow_server.settings import read_settings
from worked_server import worked_server

#: Labels that Prometheus itself adds.
TARGET_LABELS = frozenset({"job", "instance", "le"})
SCRIPT_TIMEOUT_S = 60
UNITS = frozenset({"none", "short", "s", "ops", "percentunit"})


def test_every_alert_is_seen_both_firing_and_silent() -> None:
    firing: set[str] = set()
    silent: set[str] = set()
    for path in RULE_TESTS:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for check in case.get("alert_rule_test", ()):
                (firing if check["exp_alerts"] else silent).add(check["alertname"])
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    assert alerts == firing == silent


def test_every_alert_has_a_severity_and_says_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
            assert {"summary", "action"} == set(rule["annotations"]), rule["alert"]


def test_a_recorded_series_and_its_alerts_share_a_group() -> None:
    group_of = {rule["record"]: rule["group"] for rule in rules() if "record" in rule}
    for rule in rules():
        for used in selectors(rule["expr"]):
            assert group_of.get(used.metric, rule["group"]) == rule["group"], rule["alert"]


Series = dict[str, list[dict[str, str]]]


def exported(exposition: str) -> Series:
    """Every series there can be: those of a scrape, those recorded, and Prometheus's own."""
    found: Series = {rule["record"]: [{"view": ""}] for rule in rules() if "record" in rule}
    found["up"] = [{}]
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def missing(expression: str, series: Series) -> list[str]:
    """What the expression asks for that no series has; empty when all is there."""
    asked = selectors(expression)
    lacking = [f"no metric {one.metric}" for one in asked if one.metric not in series]
    present = [one for one in asked if one.metric in series]
    for one in present:
        for label, value in one.matchers:
            had = {labels[label] for labels in series[one.metric] if label in labels}
            if label not in TARGET_LABELS and not (value in had if value else had):
                lacking.append(f'no {one.metric} with {label}="{value}"')
    known = {label for one in present for labels in series[one.metric] for label in labels}
    unknown = grouping_labels(expression) - known - TARGET_LABELS
    return lacking + [f"no label {label}" for label in sorted(unknown)]


async def test_expressions_ask_only_for_what_the_server_exports(
    postgres_dsn: str, redis_url: str, tmp_path: Path
) -> None:
    async with worked_server(postgres_dsn, redis_url, tmp_path) as server:
        series = exported(server.exposition())
    lacking = {name: missing(expression, series) for name, expression in expressions().items()}
    assert {name: what for name, what in lacking.items() if what} == {}


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(a_totals[5m]))",
        'a_total{rout="direct"}',
        'a_total{route="directly"}',
        "sum by (rout) (a_total)",
    ],
)
def test_a_misspelt_metric_label_or_value_is_found(expression: str) -> None:
    series = exported('# TYPE a_total counter\na_total{route="direct"} 1\n')
    assert missing('sum by (route) (rate(a_total{route="direct"}[5m]))', series) == []
    assert missing(expression, series)


def test_prometheus_scrapes_the_port_that_the_server_opens(tmp_path: Path) -> None:
    settings = read_settings({"RESEARCHFLOW_HOME": str(tmp_path)})
    (scrape,) = yaml.safe_load(CONFIGURATION.read_text())["scrape_configs"]
    assert scrape["job_name"] == GRAFANA_VALUES["$job"]
    assert scrape["static_configs"] == [
        {"targets": [f"{settings.metrics_host}:{settings.metrics_port}"]}
    ]


def test_the_committed_dashboard_is_the_generated_one(tmp_path: Path) -> None:
    generated = tmp_path / "dashboard.json"
    script = PROMETHEUS / "grafana" / "dashboard.py"
    subprocess.run([sys.executable, script, generated], check=True, timeout=SCRIPT_TIMEOUT_S)
    assert generated.read_text() == DASHBOARD.read_text()


def test_every_panel_is_placed_described_and_measured() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert dashboard["uid"] == "researchflow"
    assert len(ids) == len(set(ids))
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]


def test_panels_do_not_overlap() -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert cells.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_dashboard_asks_the_provisioned_datasource() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/researchflow.yml").read_text())[
        "datasources"
    ]
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    chosen = next(variable for variable in variables if variable["name"] == "datasource")
    assert chosen["query"] == source["type"] == "prometheus"
    assert chosen["current"]["value"] == source["uid"]
    asked = [panel["datasource"] for panel in panels()]
    asked += [target["datasource"] for panel in panels() for target in panel["targets"]]
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in asked)
