"""A downloaded report opens from a disk: its figures are drawn, nothing is asked for, and its numbers are those of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from backend.database import Database
from backend.settings import Settings
from copg_core import events
from tests.backend.studio_bench import API, COPG, Bench, evaluation, served
from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.test_keyboard import perform

pytestmark = pytest.mark.e2e
NAME = "</script><script>alert(1)</script> <b>seed</b>"


@pytest.fixture
def compared(sqlite_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a compare page: two algorithms, two betas and two seeds of each, already trained."""
    settings = Settings(data_dir=str(tmp_path / "data"), database_url=sqlite_url)
    database = Database(sqlite_url)
    worker = Bench(None, database, settings)  # type: ignore[arg-type] - only its worker's hands
    with served(settings) as address:
        runs = []
        for algorithm, gain in (("copg", 1.0), ("dpo", 0.7)):
            for beta in (0.1, 1.0):
                for seed in (0, 1):
                    config = {**COPG, "algorithm": algorithm, "beta": beta, "seed": seed}
                    body = {"name": f"{NAME} {seed}", "notes": "<img src=http://127.0.0.1:9/x>", "config": config}
                    run = httpx.post(f"{address}{API}/runs", json=body, timeout=30).json()["id"]
                    claim = worker.claim(run)
                    rewards = [
                        (10 * step, gain * (1 - 0.8**step) / (1 + beta) + 0.05 * ((step * 7 + 3 * seed) % 5))
                        for step in range(11)
                    ]
                    worker.record(claim, *(evaluation(step, reward=reward, n=8) for step, reward in rewards))
                    worker.record(claim, events.Finished(step=100, output="/nowhere"))
                    worker.finish(claim)
                    runs.append(run)
        yield f"{address}/compare?{'&'.join(f'run={run}' for run in runs)}&smoothing=2"
    database.close()


def cells(page: Page, table: str) -> list[list[str]]:
    """Every number's text, without the spaces between its parts; the runs, which come first, are links on the page."""
    rows = page.locator(f"{table} tbody tr")
    return [
        ["".join(text.split()) for text in rows.nth(place).locator("td").all_text_contents()[1:]]
        for place in range(rows.count())
    ]


def test_a_downloaded_report_needs_nobody(compared: str, page: Page, browser: Browser, tmp_path: Path) -> None:
    page.goto(compared)
    expect(page.get_by_test_id("differences").locator("tbody tr")).to_have_count(4)
    with page.expect_download() as started:
        page.get_by_role("link", name="Download report").click()
    file = tmp_path / started.value.suggested_filename
    started.value.save_as(file)
    shown = cells(page, "[data-testid=differences]")
    names = {one.strip() for one in page.locator(".figures.compare h2").all_text_contents()}
    assert len(names) == 7
    with page.expect_download() as again:
        perform(page, "report", "Download report", "This comparison")
    assert again.value.url == started.value.url
    page.set_viewport_size({"width": 360, "height": 900})
    expect(page.get_by_role("link", name="Download report")).to_be_in_viewport()
    expect_fitting(page)

    pictures = os.environ.get("COPG_TEST_SCREENSHOTS")
    if pictures:
        page.screenshot(path=Path(pictures) / "report-asked-360.png")
    for scheme, muted in (("light", "rgb(89, 97, 110)"), ("dark", "rgb(154, 163, 176)")):
        # Its own policy holds here, as wherever it is opened.
        context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        alone = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        alone.on("request", lambda request, asked=asked: asked.append(request.url))
        alone.on("console", lambda message, said=said: said.append(message.text))
        alone.on("pageerror", lambda error, said=said: said.append(str(error)))
        alone.on("dialog", lambda dialog, said=said: (said.append("a dialog"), dialog.dismiss()))
        for width in (1440, 360):
            alone.set_viewport_size({"width": width, "height": 900})
            alone.goto(file.as_uri())
            expect(alone.locator("html[data-drawn=true]")).to_be_attached()
            drawn = alone.locator(".plot:has(.main-svg .trace)")
            expect(drawn).to_have_count(len(names))
            assert {one.strip() for one in alone.locator(".figure h2").all_text_contents()} == names
            expect(alone.locator(".xtick text").first).to_have_css("fill", muted)
            expect_fitting(alone)
            widths = alone.locator(".plot .main-svg").evaluate_all("all => all.map((one) => one.clientWidth)")
            assert max(widths) < width
            if pictures:
                alone.screenshot(path=Path(pictures) / f"report-{scheme}-{width}.png", full_page=True)
        assert cells(alone, "#differences") == shown
        expect(alone.locator("#runs th a").first).to_have_text(f"{NAME} 0")
        reward = alone.locator(".figure").filter(has_text="Reward against step, CoPG")
        curves = reward.locator(".scatterlayer .trace")
        before = curves.count()
        reward.get_by_role("button", name="CoPG β = 0.1").click()
        expect(curves).not_to_have_count(before)
        assert said == []
        assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {file.as_uri()}
        context.close()

        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(file.as_uri())
        expect(page.locator("html[data-drawn=true]")).to_be_attached()
        assert serious_faults(page) == []

    page.emulate_media(color_scheme="dark", media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator(".xtick text").first).to_have_css("fill", "rgb(89, 97, 110)")
    assert page.locator("body").evaluate("one => getComputedStyle(one).color") == "rgb(23, 26, 31)"
    assert page.locator(".plot .main-svg").evaluate_all("all => Math.max(...all.map((one) => one.clientWidth))") == 680
    page.set_viewport_size({"width": 718, "height": 900})  # A4
    expect_fitting(page)
    overflow = "all => all.map((one) => one.scrollWidth - one.clientWidth)"
    assert max(page.locator(".scroll").evaluate_all(overflow)) <= 0, "no paper scrolls"
    if pictures:
        page.screenshot(path=Path(pictures) / "report-printed.png", full_page=True)

    context = browser.new_context(java_script_enabled=False)
    silent = context.new_page()
    silent.goto(file.as_uri())
    expect(silent.locator("#differences")).to_contain_text("over 2 seeds")
    expect(silent.get_by_text("JavaScript is off")).to_be_visible()
    expect(silent.locator(".plot").first).to_be_hidden()
    context.close()
