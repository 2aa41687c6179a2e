"""Writes the Grafana dashboard: `python prometheus/grafana/dashboard.py [FILE]`.

panels.py is the source; the JSON beside the provisioning file is what Grafana reads and is never
edited by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from panels import JOB, ROWS, Panel

TARGET = Path(__file__).parent / "provisioning" / "dashboards" / "researchflow.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
ROW_HEIGHT = 1
SCHEMA_VERSION = 39


def threshold_steps(bad: str) -> list[dict[str, Any]]:
    """Colours by value: which end is bad, or none."""
    low, high = {"zero": ("red", "green"), "above_zero": ("green", "red")}.get(bad, ("text", ""))
    steps: list[dict[str, Any]] = [{"color": low, "value": None}]
    return steps + ([{"color": high, "value": 1}] if high else [])


def field_config(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": threshold_steps(panel.bad)},
    }
    if panel.kind == "timeseries":
        defaults["min"] = 0
        if panel.unit == "percentunit":
            defaults["max"] = 1
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"group": "A", "mode": "normal" if panel.stacked else "none"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    return {"defaults": defaults, "overrides": []}


def options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "value",
        }
    return {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def target_json(number: int, expr: str, legend: str) -> dict[str, Any]:
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "legendFormat": legend,
        "range": True,
        "refId": chr(ord("A") + number),
    }


def panel_json(panel: Panel, *, panel_id: int, x: int, y: int) -> dict[str, Any]:
    return {
        "id": panel_id,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "fieldConfig": field_config(panel),
        "options": options(panel),
        "targets": [
            target_json(number, expr, legend) for number, (expr, legend) in enumerate(panel.targets)
        ],
    }


def row_json(title: str, *, panel_id: int, y: int) -> dict[str, Any]:
    return {
        "id": panel_id,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": ROW_HEIGHT, "w": COLUMNS, "x": 0, "y": y},
        "panels": [],
    }


def panels_json() -> list[dict[str, Any]]:
    """Rows from top to bottom, the panels of a row from left to right, wrapped at the edge."""
    found: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        found.append(row_json(title, panel_id=len(found) + 1, y=y))
        x, y, line_height = 0, y + ROW_HEIGHT, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            found.append(panel_json(panel, panel_id=len(found) + 1, x=x, y=y))
            x, line_height = x + panel.width, max(line_height, panel.height)
        y += line_height
    return found


def label_variable(name: str, label: str, query: str, *, many: bool) -> dict[str, Any]:
    """A drop-down filled with the values of a label."""
    everything = {"text": "All", "value": "$__all"}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "current": everything if many else {"text": "researchflow", "value": "researchflow"},
        "options": [],
        "hide": 0,
    } | ({"allValue": ".*"} if many else {})


def variables_json() -> list[dict[str, Any]]:
    datasource = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"text": "ResearchFlow Prometheus", "value": "researchflow-prometheus"},
        "options": [],
        "refresh": 1,
        "hide": 0,
    }
    seen = "researchflow_view_data_as_of_timestamp_seconds"
    return [
        datasource,
        label_variable("job", "Job", "label_values(researchflow_warehouse_up, job)", many=False),
        label_variable("view", "View", f"label_values({seen}{{{JOB}}}, view)", many=True),
    ]


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it; `uid` and panel ids stay the same between versions."""
    return {
        "uid": "researchflow",
        "title": "ResearchFlow",
        "description": "Can the answers be trusted, how are they made, and how fast.",
        "tags": ["researchflow"],
        "timezone": "browser",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": variables_json()},
        "panels": panels_json(),
    }


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
