"""How pictures look: one Vega-Lite configuration for all charts."""

from __future__ import annotations

from typing import Any

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
WIDTH_PX = 560
#: Tells ten series apart, for most of those who see few colours too.
COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee",
    "#aa3377", "#ee7733", "#009988", "#332288", "#999933",
)  # fmt: skip
GREY = "#555555"
CONFIG: dict[str, Any] = {
    "background": "white",
    "padding": 14,
    "view": {"stroke": None},
    "range": {"category": list(COLOURS)},
    "mark": {"color": COLOURS[0]},
    "style": {
        "told": {"color": GREY, "fontSize": 10},
        # A title, not a mark: it takes its colour by another name.
        "note": {"fill": GREY, "fontSize": 11, "fontWeight": "normal"},
        "whisker": {"color": GREY},
    },
    "axis": {
        "labelColor": GREY,
        "titleColor": GREY,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 12,
        "gridColor": "#e6e6e6",
        "domainColor": "#bbbbbb",
        "tickColor": "#bbbbbb",
    },
    "legend": {"labelFontSize": 11, "titleFontWeight": "normal", "labelLimit": 180},
    "title": {
        "fontSize": 15,
        "subtitleFontSize": 11,
        "subtitleColor": GREY,
        "subtitlePadding": 5,
        "offset": 12,
    },
}
