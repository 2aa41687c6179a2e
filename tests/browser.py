"""The system's Chromium, without a window, and a page of it that tells what went wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright, expect

CHROMIUM = shutil.which("chromium")
#: As root there is no sandbox; the only page is our own.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
SHOTS = Path(__file__).parents[1] / ".screenshots"
#: A bound for a machine that is busy with other tests; usually everything is there at once.
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)

Scheme = Literal["light", "dark"]
WIDE, NARROW = (1280, 900), (390, 844)


@dataclass
class Window:
    """A page, and what its console and its requests told."""

    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def shoot(self, name: str) -> None:
        """Keeps a picture of the whole page for people to look at."""
        SHOTS.mkdir(exist_ok=True)
        await self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser until the end of the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def window(
    browser: Browser, *, size: tuple[int, int] = WIDE, scheme: Scheme = "light"
) -> AsyncIterator[Window]:
    """A window with a state of its own; at the end of the block nothing may have gone wrong."""
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    )
    context.set_default_timeout(WAIT_MS)
    opened = Window(await context.new_page())
    opened.page.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.page.on(
        "console",
        lambda said: opened.faults.append(said.text) if said.type in ("error", "warning") else None,
    )
    opened.page.on("request", lambda request: opened.requests.append(request.url))
    yield opened
    await context.close()
    assert opened.faults == []
