"""Every page, furnished and empty, light and dark, wide and narrow: nothing that axe finds serious, nothing cut off, nothing that jumps."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import Studio, start_studio, stop_studio
from tests.e2e.test_artifacts_page import TINY
from tests.e2e.test_data_page import pairs

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

WIDTHS = [1440, 360]
SHIFTS = """
window.shifted = [];
new PerformanceObserver((list) => list.getEntries().forEach((one) => {
  if (!one.hadRecentInput) window.shifted.push([one.value, one.sources.map(({node}) => node?.outerHTML?.slice(0, 120) ?? String(node))]);
})).observe({type: 'layout-shift', buffered: true});
"""
# Figures further down wait until they come into view.
LOADED = """() => [...document.querySelectorAll('.mantine-Skeleton-root')].every((one) => one.getBoundingClientRect().top > innerHeight)"""
SHOTS = os.environ.get("COPG_TEST_SCREENSHOTS")  # a folder: what every page looks like, for people to look at
GOOD = 0.1  # a cumulative layout shift that Core Web Vitals calls good


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, dict[str, str]]]:
    """A studio with a trained run, a cancelled one, a sweep, a data set and a note; and the ids by which pages are found."""
    studio = start_studio(tmp_path_factory.mktemp("walk") / "data")
    try:
        trained = studio.post(
            "/runs", {"name": "trained", "config": TINY, "tags": ["kept"], "notes": "**As** planned."}
        )
        # More than nine: axe passes over texts of one letter, counts among them.
        for number in range(10):
            stopped = studio.post("/runs", {"name": f"stopped before it began, {number}", "config": TINY})
            studio.post(f"/runs/{stopped['id']}/cancel", status=200)
        config: dict[str, Any] = TINY | {"algorithm": "copg", "reward": {"kind": "gold"}}
        sweep = studio.post("/sweeps", {"name": "betas", "config": config, "grid": {"beta": [0.1, 1.0]}})
        file = pairs(tmp_path_factory.mktemp("sent") / "pairs.jsonl").read_bytes()
        sent = httpx.post(
            f"{studio.url}/api/v1/datasets/upload", params={"filename": "pairs.jsonl"}, content=file, timeout=60
        ).json()
        studio.wait_for(trained["id"], {"succeeded"}, 180)
        for one in studio.get(f"/sweeps/{sweep['id']}/members")["items"]:
            studio.wait_for(one["run"]["id"], {"succeeded"}, 180)
        trial = studio.post("/trials", {"runs": [trained["id"]], "prompt": "my boss sold my bike . TL;DR:"})["id"]
        deadline = time.monotonic() + 120
        while studio.get(f"/trials/{trial}")["state"] != "succeeded":
            assert time.monotonic() < deadline, studio.get(f"/trials/{trial}")
            time.sleep(0.2)
        ids = {"trained": trained, "stopped": stopped, "sweep": sweep, "data": sent}
        yield studio, {name: one["id"] for name, one in ids.items()} | {"trial": trial}
    finally:
        stop_studio(studio)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio that nobody has used."""
    studio = start_studio(tmp_path_factory.mktemp("bare") / "data")
    yield studio
    stop_studio(studio)


def looked_at(page: Page, address: str, width: int, state: str) -> list[str]:
    """What is wrong with a page that has come to rest, in sentences."""
    page.set_viewport_size({"width": width, "height": 900})
    shifts = shifted_by(page, address)
    if sum(value for value, _ in shifts) > GOOD:  # a busy machine answers in any order: once is chance
        shifts = shifted_by(page, address)
    wrong = [f"shifted by {total:.2f}: {shifts}"] if (total := sum(value for value, _ in shifts)) > GOOD else []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        wrong += [f"{scheme}: {fault}" for fault in serious_faults(page)]
        if SHOTS:
            name = re.sub(r"[0-9a-f]{32}", "id", re.sub(r"^https?://[^/]*/", "", address))
            name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
            page.screenshot(path=Path(SHOTS) / f"{name}-{state}-{width}-{scheme}.png", full_page=True)
    if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
        wrong.append(f"{wide} px wide")
    return [f"{address} at {width} px: {one}" for one in wrong]


def shifted_by(page: Page, address: str) -> list[tuple[float, list[str]]]:
    """Open a page, let it come to rest, and see what moved by how much without anybody's doing."""
    page.goto(address)
    expect(page.locator("main h1, main p").first).to_be_visible()
    page.wait_for_function(LOADED)
    page.wait_for_timeout(500)
    return list(page.evaluate("window.shifted"))


@pytest.mark.parametrize("width", WIDTHS)
def test_furnished(furnished: tuple[Studio, dict[str, str]], page: Page, width: int) -> None:
    studio, ids = furnished
    run = ids["trained"]
    page.add_init_script(SHIFTS)
    paths = [
        "/runs", f"/runs/{run}", f"/runs/{run}/samples", f"/runs/{run}/config", f"/runs/{run}/log", f"/runs/{run}/files",
        f"/runs/{run}/report", f"/runs/{ids['stopped']}", "/launch", "/launch?algorithm=dpo&mode=sweep", f"/launch?from={run}", "/sweeps",
        f"/sweeps/{ids['sweep']}", f"/compare?sweep={ids['sweep']}", f"/samples?column={run}@first&column={run}@last", "/data",
        f"/playground?run={run}", f"/playground/{ids['trial']}",
        f"/data/{ids['data']}", "/bandit", "/system", "/access", "/nowhere",
    ]  # fmt: skip
    assert [wrong for path in paths for wrong in looked_at(page, studio.url + path, width, "full")] == []
    page.goto(f"{studio.url}/runs")
    rows = page.get_by_role("row")
    for number in range(1, 4):
        rows.nth(number).get_by_role("checkbox").check()
    rows.nth(4).hover()
    page.get_by_role("group", name="Filter by state").get_by_role("button", name="Cancelled").focus()
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert serious_faults(page) == [], scheme


def test_what_has_not_begun_shows_nothing_as_done(furnished: tuple[Studio, dict[str, str]], page: Page) -> None:
    studio, ids = furnished
    page.goto(f"{studio.url}/runs/{ids['stopped']}")
    expect(page.get_by_test_id("no-curves")).to_contain_text("nothing to draw")
    expect(page.locator(".figure")).to_have_count(0)
    page.goto(f"{studio.url}/runs/{ids['trained']}/report")
    expect(page.get_by_text("Saving", exact=True).locator("+ dd")).to_have_text(re.compile(r"^[\d.]+ s$"))
    studio.post("/queue/pause", status=200)
    try:
        made = studio.post("/sweeps", {"name": "waits", "config": TINY, "grid": {"seed": [1, 2]}})
        page.goto(f"{studio.url}/sweeps/{made['id']}")
        bar = page.get_by_role("progressbar", name="Progress of waits")
        expect(bar).to_have_attribute("aria-valuenow", "0")
        expect(bar.locator("i")).to_have_count(0)
        studio.post(f"/sweeps/{made['id']}/cancel", status=200)
    finally:
        studio.post("/queue/resume", status=200)


@pytest.mark.parametrize("width", WIDTHS)
def test_empty(bare: Studio, page: Page, width: int) -> None:
    page.add_init_script(SHIFTS)
    paths = ["/runs", "/sweeps", "/compare", "/samples", "/playground", "/data", "/system", "/access"]
    assert [wrong for path in paths for wrong in looked_at(page, bare.url + path, width, "empty")] == []
