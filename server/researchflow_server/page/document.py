"""The page's files, and the page in one document for hosts that fetch nothing else."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

#: Where hosts find the page as an MCP App.
APP_URI = "ui://researchflow/page"
STYLE = "style.css"
ICON = "icon.svg"
#: In the order in which each needs the ones before it.
PARTS = ("htm-preact.umd.js", "vega.min.js", "vega-lite.min.js", "vega-embed.min.js")
OWN = ("server.js", "words.js", "picture.js", "result.js", "ask.js", "views.js", "page.js")
SCRIPTS = (*PARTS, *OWN)
FOLDER = "page"
_STYLES_HERE, _SCRIPTS_HERE = "<!-- styles -->", "<!-- scripts -->"


@cache
def text_of(name: str) -> str:
    """One of the files named above, or index.html."""
    folder = files(__package__) / ("parts" if name in PARTS else "static")
    return (folder / name).read_text(encoding="utf-8")


@cache
def page_document() -> str:
    """The page that fetches its files from FOLDER."""
    links = (
        f'<link rel="stylesheet" href="{FOLDER}/{STYLE}">\n'
        f'<link rel="icon" href="{FOLDER}/{ICON}" type="image/svg+xml">'
    )
    scripts = "\n".join(f'<script src="{FOLDER}/{name}"></script>' for name in SCRIPTS)
    return _filled(links, scripts)


@cache
def app_document() -> str:
    """The same page in one piece: a host allows its frame no request."""
    scripts = "\n".join(f"<script>{text_of(name)}</script>" for name in SCRIPTS)
    return _filled(f"<style>{text_of(STYLE)}</style>", scripts)


def _filled(styles: str, scripts: str) -> str:
    before, after = text_of("index.html").split(_STYLES_HERE)
    middle, end = after.split(_SCRIPTS_HERE)
    return f"{before}{styles}{middle}{scripts}{end}"
