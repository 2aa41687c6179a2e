"""The page in a real browser: wide and narrow, light and dark, by mouse and by keyboard alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from browser import CHROMIUM, NARROW, WIDE, Scheme, Window, chromium, window
from clinic import condition, lab, patient
from researchflow_server.embedded import Services
from researchflow_server.http import Listener, http_app
from researchflow_server.page import app_document
from tool_server import ToolServer, module_stores, tool_server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

BY_GENDER = {
    "view": "patient_simple",
    "group_by": ["gender"],
    "aggregates": [{"fn": "count"}],
}
#: Text of a record that a careless page would run.
HOSTILE = "<img src=x onerror=\"document.body.textContent='taken over'\">"
LABS = {"view": "observation_labs", "columns": ["effective_datetime", "value_quantity"]}
SURVIVAL = (
    "SELECT gender, length(id) AS days, gender = 'female' AS died FROM patient_simple ORDER BY id"
)


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    async with (
        module_stores(services, number=12) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(
            patient("ada", birthDate="1960-05-01"),
            patient("bea", birthDate="1990-01-01"),
            patient("carl", gender="male", birthDate="1980-01-01"),
            condition("c1", "ada"),
            *(
                lab(f"l{n}", "ada", 5 + n / 4, effectiveDateTime=f"2021-{n:02}")
                for n in range(1, 9)
            ),
        )
        await server.call("refresh_views")
        yield server


@pytest_asyncio.fixture(scope="module")
async def url(tools: ToolServer) -> AsyncIterator[str]:
    app = http_app(tools.server, tools.runtime)
    with Listener(app, host="127.0.0.1", port=0, variable="port") as listener:
        serving = asyncio.create_task(listener.serve())
        yield f"http://127.0.0.1:{listener.port}/"
        listener.stop()
        await serving


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


async def opened(at: Window, url: str) -> Page:
    """The page once it shows its views."""
    await at.page.goto(url)
    await expect(at.page.get_by_role("button", name="patient_simple")).to_be_visible()
    return at.page


async def ask(page: Page, question: dict[str, Any] | str) -> None:
    kind = "SQL over views" if isinstance(question, str) else "Typed question"
    await page.get_by_label(kind).check()
    text = question if isinstance(question, str) else json.dumps(question)
    await page.get_by_label("Question", exact=True).fill(text)
    await page.get_by_role("button", name="Ask").click()


async def rows(page: Page, label: str = "Rows of the answer") -> list[list[str]]:
    """The cells of a grid once it is there."""
    grid = page.get_by_role("region", name=label)
    await expect(grid).to_be_visible()
    found: list[list[str]] = await grid.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return found


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
async def test_a_question_is_answered_drawn_and_dated(
    browser: Browser, url: str, size: tuple[int, int], scheme: Scheme
) -> None:
    async with window(browser, size=size, scheme=scheme) as at:
        page = await opened(at, url)
        name = f"{'wide' if size == WIDE else 'narrow'}-{scheme}"
        await at.shoot(f"{name}-views")
        await ask(page, BY_GENDER)
        assert await rows(page) == [["female", "2"], ["male", "1"]]
        await expect(page.get_by_label("Provenance")).to_contain_text("anchor1")
        await page.get_by_role("button", name="Draw").click()
        drawing = page.locator(".drawing svg")
        await expect(drawing).to_contain_text("anchor 1 · data as of ")
        await at.shoot(f"{name}-picture")
        # Black is what text has that nobody gave a colour; on a dark page it is not seen.
        fills = await drawing.locator("text").evaluate_all(
            "texts => texts.map(text => text.getAttribute('fill'))"
        )
        assert fills
        assert not {"black", "#000", "#000000"} & set(fills)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert (page.url, await page.title()) == (url, "ResearchFlow")
        assert {one.split("?")[0].removeprefix(url).split("/")[0] for one in at.requests} <= {
            "", "page", "mcp",
        }  # fmt: skip


CHARTS: dict[str, tuple[dict[str, Any] | str, dict[str, str]]] = {
    "line": (LABS, {"x": "effective_datetime", "y": "value_quantity"}),
    "histogram": (LABS, {"x": "value_quantity"}),
    "box": (LABS, {"x": "", "y": "value_quantity"}),
    "survival": (SURVIVAL, {"x": "days", "y": "died", "series": "gender"}),
}


async def test_every_chart_is_drawn_by_the_servers_specification(
    browser: Browser, url: str
) -> None:
    async with window(browser, scheme="dark") as at:
        page = await opened(at, url)
        for chart, (question, chosen) in CHARTS.items():
            await ask(page, question)
            await rows(page)
            await page.get_by_label("chart").select_option(chart)
            for name, column in chosen.items():
                await page.get_by_label(name, exact=True).select_option(column)
            await page.get_by_role("button", name="Draw").click()
            await expect(page.locator(".drawing svg")).to_contain_text("anchor 1")
            await at.shoot(f"chart-{chart}")
        async with page.expect_download() as saved:
            await page.get_by_text("Save as PNG").click()
        picture = await (await saved.value).path()
        assert picture.read_bytes().startswith(b"\x89PNG")


async def test_the_page_is_used_by_keyboard_alone(browser: Browser, url: str) -> None:
    async with window(browser) as at:
        page = await opened(at, url)
        focused = "document.activeElement.textContent + (document.activeElement.ariaLabel ?? '')"
        for _press in range(60):
            await page.keyboard.press("Tab")
            if "patient_simple" in await page.evaluate(focused):
                break
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="patient_simple")).to_have_attribute(
            "aria-pressed", "true"
        )
        for _press in range(60):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.ariaLabel") == "Question":
                break
        await page.keyboard.press("Control+Enter")
        assert len(await rows(page)) == 3


async def test_what_is_wrong_with_a_question_is_shown_with_the_way_out(
    browser: Browser, url: str
) -> None:
    async with window(browser) as at:
        page = await opened(at, url)
        await ask(page, {"view": "patient_simpel"})
        alert = page.get_by_role("alert")
        await expect(alert).to_contain_text('unknown view "patient_simpel"')
        await at.shoot("error")
        await page.get_by_label("Question", exact=True).fill("{")
        await page.get_by_role("button", name="Ask").click()
        await expect(alert).to_contain_text("JSON")


async def test_an_answer_is_taken_along(browser: Browser, url: str) -> None:
    async with window(browser) as at:
        page = await opened(at, url)
        await ask(page, "SELECT id, birth_date FROM patient_simple ORDER BY id")
        await rows(page)
        # Where there is no clipboard, as in a browser without a window, the text is shown.
        await page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject() }")
        texts = {}
        for form in ("tool call", "SQL", "CSV"):
            await page.get_by_role("button", name=form, exact=True).click()
            texts[form] = await page.get_by_label(f"As {form}, to copy").input_value()
        assert json.loads(texts["tool call"]) == {
            "name": "query_sql",
            "arguments": {"sql": texts["SQL"]},
        }
        assert texts["CSV"].split() == [
            "id,birth_date", "ada,1960-05-01", "bea,1990-01-01", "carl,1980-01-01",
        ]  # fmt: skip


async def test_text_of_a_record_is_shown_and_not_run(browser: Browser, url: str) -> None:
    async with window(browser) as at:
        page = await opened(at, url)
        quoted = HOSTILE.replace("'", "''")
        await ask(page, f"SELECT '{quoted}' AS code, id FROM condition_simple")
        assert await rows(page) == [[HOSTILE, "c1"]]
        await expect(page.get_by_role("heading", name="ResearchFlow")).to_be_visible()


async def test_pages_of_rows_follow_each_other(browser: Browser, url: str) -> None:
    async with window(browser) as at:
        page = await opened(at, url)
        await ask(page, {**LABS, "limit": 5})
        first = await rows(page)
        await page.get_by_role("button", name="Next page").click()
        await expect(page.get_by_role("button", name="Next page")).to_have_count(0)
        assert (len(first), len(await rows(page))) == (5, 3)


async def test_codes_are_found_by_words(browser: Browser, url: str) -> None:
    async with window(browser) as at:
        page = await opened(at, url)
        await page.get_by_text("Find a code").click()
        await page.get_by_label("Words to find codes for").fill("4548-4")
        await page.keyboard.press("Enter")
        assert "4548-4" in str(await rows(page, "Codes found"))


async def test_waiting_changes_show_and_a_refresh_publishes_them(
    browser: Browser, url: str, tools: ToolServer
) -> None:
    await tools.call("cache_resources", resources=[patient("dora")])
    await tools.put(patient("dora"))
    async with window(browser) as at:
        page = await opened(at, url)
        await page.get_by_text("Waiting changes: 1").click()
        assert (await rows(page, "Waiting changes"))[0][0] == "Patient"
        await page.get_by_role("button", name="Refresh").click()
        await expect(page.get_by_text("published, anchor 2")).to_be_visible()
        await expect(page.get_by_text("Waiting changes: 0")).to_be_visible()


HOST_PAGE = """
<!doctype html><title>host</title>
<script>
const frame = document.createElement("iframe");
frame.sandbox = "allow-scripts";
frame.style = "width: 700px; height: 900px";
window.heard = [];
window.addEventListener("message", async ({ data, source }) => {
  if (source !== frame.contentWindow) return;
  window.heard.push(data.method);
  const send = (message) => source.postMessage({ jsonrpc: "2.0", ...message }, "*");
  if (data.method === "ui/initialize") {
    send({ id: data.id, result: {
      protocolVersion: "2026-01-26",
      hostCapabilities: { serverTools: {} },
      hostInfo: { name: "host", version: "1" },
      hostContext: { theme: "dark", toolInfo: { tool: { name: "draw", inputSchema: {} } } },
    } });
  } else if (data.method === "ui/notifications/initialized") {
    send({ method: "ui/notifications/tool-input", params: { arguments: window.asked } });
    send({ method: "ui/notifications/tool-result", params: window.answered });
  } else if (data.method === "tools/call") {
    send({ id: data.id, result: await window.callTool(data.params) });
  }
});
window.tell = (message) => frame.contentWindow.postMessage({ jsonrpc: "2.0", ...message }, "*");
window.start = (html, asked, answered) => {
  Object.assign(window, { asked, answered });
  frame.srcdoc = html;
  document.body.append(frame);
};
</script>
"""
#: What a host imposes on an app that declares nothing (SEP-1865, Host Behavior).
HOST_RULES = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; media-src 'self' data:; connect-src 'none'"
)


async def test_a_host_shows_the_answer_in_its_frame_and_asks_on(
    browser: Browser, tools: ToolServer
) -> None:
    asked = {"chart": "bar", "query": BY_GENDER, "x": "gender", "y": "count"}

    async def call_tool(params: dict[str, Any]) -> dict[str, Any]:
        result = await tools.result(params["name"], **params["arguments"])
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    answered = await call_tool({"name": "draw", "arguments": asked})
    async with window(browser) as at:
        await at.page.set_content(HOST_PAGE)
        await at.page.expose_function("callTool", call_tool)
        rules = f'<meta http-equiv="Content-Security-Policy" content="{HOST_RULES}">'
        document = app_document().replace("<head>", f"<head>{rules}", 1)
        await at.page.evaluate("given => window.start(...given)", [document, asked, answered])
        frame = at.page.frame_locator("iframe")
        await expect(frame.locator(".drawing svg")).to_contain_text("anchor")
        await expect(frame.get_by_role("region", name="Rows of the answer")).to_contain_text(
            "female"
        )
        await at.shoot("app-in-a-host")
        await frame.get_by_label("Question", exact=True).fill(
            json.dumps({"view": "patient_simple"})
        )
        await frame.get_by_role("button", name="Ask").click()
        await expect(frame.get_by_role("region", name="Rows of the answer")).to_contain_text("carl")
        error = {"code": "unknown_view", "message": "no such view", "retryable": False}
        failed = {"isError": True, "structuredContent": {"error": error}, "content": []}
        told = {"method": "ui/notifications/tool-result", "params": failed}
        await at.page.evaluate("message => window.tell(message)", told)
        await expect(frame.get_by_role("alert")).to_contain_text("no such view")
        assert "ui/notifications/size-changed" in await at.page.evaluate("window.heard")
        assert at.requests == []
