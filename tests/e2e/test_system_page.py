"""The system page in a real browser: GPUs over time as heartbeats bring them, the queue with its reasons, paused and resumed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Request, expect
from sqlalchemy import select

from backend import gpu_history, nodes
from backend.database import NOW, Database
from backend.nodes import GpuReading
from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio
from tests.e2e.test_sweeps_page import TINY

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]

GB = 10**9
PERIOD = 15.0
AWAY = range(20 * 60, 35 * 60)  # seconds ago


@pytest.fixture
def database(studio: Studio) -> Iterator[Database]:
    """The studio's own, in which a machine with GPUs is written that does not exist."""
    opened = Database(f"sqlite:///{studio.data_dir / 'copg.sqlite3'}")
    yield opened
    opened.close()


def gpus(second: int) -> list[GpuReading]:
    return [
        GpuReading(0, "GPU-a", "H200", 141 * GB, (60 + second // 60 % 7) * GB, 70 + second // 15 % 20),
        GpuReading(1, "GPU-b", "H200", 141 * GB, 8 * GB, second // 60 % 30),
    ]


def beat(database: Database) -> None:
    with database.transaction() as session:
        at = nodes.register(
            session, "gpu-box/1", host="gpu-box", pid=1, queue="default", slots=2, cpu_slots=0, version="0", devices=[],
            gpus=gpus(0),
        )  # fmt: skip
        gpu_history.record(session, at, PERIOD, "gpu-box", gpus(0))


def an_hour(database: Database) -> None:
    with database.transaction() as session:
        now = session.scalars(select(NOW)).one()
        for ago in range(15, 3700, int(PERIOD)):
            if ago not in AWAY:
                gpu_history.record(session, now - ago, PERIOD, "gpu-box", gpus(ago))


def legend(figure: Locator) -> Locator:
    return figure.get_by_role("list", name="Legend").get_by_role("listitem")


@pytest.mark.timeout(600)
def test_gpus_over_time_and_what_the_queue_waits_for(
    studio: Studio, page: Page, database: Database, tmp_path: Path
) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        if "/workers/figures/" in request.url:
            asked.append(request.url)

    page.on("request", note)
    page.goto(f"{studio.url}/system")
    section = page.get_by_test_id("gpus")
    expect(section).to_contain_text("No worker has reported a GPU")
    assert len(asked) == 1

    an_hour(database)
    beat(database)
    figure = page.get_by_test_id("figure-gpu_use")
    expect(figure).to_have_attribute("data-status", "shown")
    expect(page.get_by_test_id("figure-gpu_memory")).to_have_attribute("data-status", "shown")
    expect(legend(figure)).to_have_text(["GPU 0", "GPU 1"])
    expect(legend(page.get_by_test_id("figure-gpu_memory")).last).to_have_text("141 GB in all")
    # A worker that was away is not drawn as if it had been there.
    expect(figure.locator(".scatterlayer .trace").first.locator(".js-line")).to_have_count(2)

    expect(page.get_by_text("Not everything is well")).to_have_count(0)  # the studio's own worker is there
    # A heartbeat brings a point; without one nothing is asked, and nothing moves.
    before, height = len(asked), figure.bounding_box()
    with (
        page.expect_response("**/workers/figures/gpu_use?**"),
        page.expect_response("**/workers/figures/gpu_memory?**"),
        database.transaction() as session,
    ):  # as if the last one had been a while ago
        at = session.scalars(select(NOW)).one() + PERIOD
        gpu_history.record(session, at, PERIOD, "gpu-box", gpus(0))
    assert len(asked) == before + 2
    for _ in range(2):
        with page.expect_response("**/api/v1/workers"):
            pass
    assert len(asked) == before + 2
    assert figure.bounding_box() == height

    section.get_by_text("24 h", exact=True).click()
    page.wait_for_url("**/system?hours=24")
    expect(figure.locator(".xtitle")).to_contain_text("means over 6 min")
    page.reload()
    expect(figure.locator(".xtitle")).to_contain_text("means over 6 min")
    page.goto(f"{studio.url}/system?hours=7&host=nowhere")  # a link that was mistyped
    expect(section).to_contain_text("No worker has reported such a GPU in the last 1 h.")
    page.goto(f"{studio.url}/system")

    beat(database)  # it is alive for a lease from now on
    large = studio.post("/runs", {"name": "four at once", "config": TINY, "gpus": 4})["id"]
    queue = page.locator(".line-of-runs")
    expect(queue).to_contain_text("waits for 4 GPUs; the largest worker has 2")
    queue.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status").filter(has_text="The queue is paused")).to_be_visible()
    expect(queue).to_contain_text("the queue is paused")
    small = studio.post("/runs", {"name": "on the processor", "config": TINY})["id"]
    expect(queue.locator("li")).to_have_count(2)
    assert studio.get(f"/runs/{small}")["state"] == "queued"

    for width in (1440, 360):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            beat(database)
            # What is out of sight is drawn when it comes into it.
            page.get_by_test_id("figure-gpu_memory").scroll_into_view_if_needed()
            expect(figure).to_have_attribute("data-status", "shown")
            assert serious_faults(page) == [], (width, scheme)
            expect_fitting(page)
            page.evaluate("window.scrollTo(0, 0)")
            page.screenshot(path=tmp_path / f"system-{width}-{scheme}.png", full_page=True)

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("The queue is paused", exact=True)).to_have_count(0)
    beat(database)
    expect(queue).to_contain_text("waits for 4 GPUs; the largest worker has 2")
    studio.wait_for(small, {"succeeded"}, 180)
    assert studio.get(f"/runs/{large}")["state"] == "queued"
