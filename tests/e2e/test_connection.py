"""What stays on the screen while the server is away, and what it says when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e import conftest
from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import Studio, start_studio, stop_studio
from tests.waiting import until

pytestmark = pytest.mark.e2e

TINY = {
    "algorithm": "sft", "policy": {"kind": "preset", "size": "nano"}, "batch_size": 8, "steps": 4,
    "data": {"kind": "task", "train_size": 32, "validation_size": 8},
}  # fmt: skip
RANGE = "() => document.querySelector('.figure.wide .js-plotly-plot')?._fullLayout?.xaxis.range.join()"


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Studio]:
    """A studio that its test stops."""
    running = start_studio(tmp_path / "data")
    yield running
    stop_studio(running)


def test_figures_stay_as_they_are_while_the_server_is_away(
    mortal: Studio, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = mortal.post("/runs", {"name": "short", "config": TINY})["id"]
    mortal.wait_for(run, {"succeeded"}, 120)
    page.goto(f"{mortal.url}/runs/{run}")
    figure = page.locator(".figure.wide")
    expect(figure).to_have_attribute("data-status", "shown")
    whole = page.evaluate(RANGE)
    box = figure.locator(".nsewdrag").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    page.wait_for_function(f"whole => ({RANGE})() !== whole", arg=whole)
    zoomed = page.evaluate(RANGE)

    live = page.get_by_test_id("live")
    stop_studio(mortal)
    expect(live).to_have_attribute("data-connected", "false")
    assert page.evaluate(RANGE) == zoomed
    # The list of figures cannot be asked for again: those that are shown stay.
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=500)

    page.route(f"**/api/v1/runs/{run}/figures", refuse)
    monkeypatch.setattr(conftest, "free_port", lambda: int(mortal.url.rsplit(":", 1)[1]))
    with page.expect_response(lambda answer: f"run={run}" in answer.url and "/points?" in answer.url, timeout=60_000):
        again = start_studio(mortal.data_dir)
    try:
        expect(live).to_have_attribute("data-connected", "true")
        until(lambda: len(refused) >= 3, page=page)
        page.wait_for_timeout(5000)
        assert len(refused) == 3  # as often as a question is tried
        assert page.evaluate(RANGE) == zoomed
        expect(figure).to_have_attribute("data-status", "shown")
    finally:
        stop_studio(again)


def test_a_page_that_cannot_be_loaded_says_so_beside_the_header(mortal: Studio, page: Page) -> None:
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    page.route("**/assets/BanditPage-*.js", lambda route: route.abort())
    page.goto(f"{mortal.url}/runs")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Bandit").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This page cannot be shown")
    until(lambda: len(loads) >= 2, page=page)
    page.wait_for_timeout(1500)
    expect(alert).to_contain_text("This page cannot be shown")
    # Loaded again once, and not for ever.
    assert loads == [f"{mortal.url}/runs", f"{mortal.url}/bandit"]
    assert serious_faults(page) == []
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", name="System")).to_be_visible()
    page.go_back()
    expect(alert).to_be_visible()
    page.unroute("**/assets/BanditPage-*.js")
    alert.get_by_role("button", name="Load again").click()
    expect(page.locator(".figure .js-plotly-plot").first).to_be_visible()
