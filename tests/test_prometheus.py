"""The files in prometheus/ against the metrics that the server exports, and against Prometheus."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from promql import selectors
from researchflow_server.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "prometheus"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
RULE_TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))
PROVISIONING = PROMETHEUS / "grafana" / "provisioning"
DASHBOARD = PROVISIONING / "dashboards" / "researchflow.json"
PROMTOOL_TIMEOUT_S = 60

#: What Grafana puts in the place of its variables.
GRAFANA_VALUES = {
    "$__rate_interval": "1m",
    "$__range": "1h",
    "$job": "researchflow",
    "$view": ".*",
}
#: Labels that Prometheus itself adds.
TARGET_LABELS = frozenset({"job", "instance", "le"})
UNITS = frozenset({"none", "short", "s", "ops", "percentunit"})


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool, which Debian's package prometheus brings")
    return found


def run(*command: str | Path) -> None:
    """Fails with the command's own words when it does not exit 0."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROMTOOL_TIMEOUT_S)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from ({**rule, "group": group["name"]} for rule in group["rules"])


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, without the rows that head them."""
    everything = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in everything if panel["type"] != "row"]


def panel_expressions() -> dict[str, str]:
    """Each target's expression, with Grafana's variables filled in."""
    return {
        f"{panel['title']} {target['refId']}": filled(target["expr"])
        for panel in panels()
        for target in panel["targets"]
    }


def filled(expression: str) -> str:
    for variable, value in GRAFANA_VALUES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def expressions() -> dict[str, str]:
    of_rules = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    return of_rules | panel_expressions()


def test_configuration_and_rules_are_accepted_by_promtool(promtool: str) -> None:
    run(promtool, "check", "config", PROMETHEUS / "prometheus.yml")


def test_rules_fire_and_stay_silent_as_their_unit_tests_say(promtool: str) -> None:
    run(promtool, "test", "rules", *RULE_TESTS)


def test_every_alert_is_seen_both_firing_and_silent() -> None:
    firing, silent = set(), set()
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


def test_every_panel_expression_parses(promtool: str, tmp_path: Path) -> None:
    wrapped = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(panel_expressions().values())
    ]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": wrapped}]}))
    run(promtool, "check", "rules", path)


def test_prometheus_scrapes_the_port_that_the_server_opens(tmp_path: Path) -> None:
    settings = read_settings({"RESEARCHFLOW_HOME": str(tmp_path)})
    (scrape,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["job_name"] == GRAFANA_VALUES["$job"]
    assert scrape["static_configs"] == [
        {"targets": [f"{settings.metrics_host}:{settings.metrics_port}"]}
    ]


def test_the_committed_dashboard_is_the_generated_one(tmp_path: Path) -> None:
    generated = tmp_path / "dashboard.json"
    run(sys.executable, PROMETHEUS / "grafana" / "dashboard.py", generated)
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
