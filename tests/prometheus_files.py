"""What the files in prometheus/ say, read for the tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS = ROOT / "prometheus"
CONFIGURATION = PROMETHEUS / "prometheus.yml"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
RULE_TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))
PROVISIONING = PROMETHEUS / "grafana" / "provisioning"
DASHBOARD = PROVISIONING / "dashboards" / "researchflow.json"

#: What Grafana puts in the place of its variables.
GRAFANA_VALUES = {
    "$__rate_interval": "1m",
    "$__range": "1h",
    "$job": "researchflow",
    "$view": ".*",
}


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
