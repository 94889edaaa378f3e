"""Fifty runs of two thousand evaluations each on the compare page, while all of them go on.

    python benchmarks/compare_page.py [--quick] [--json FILE] [--runs 50] [--evaluations 2000] [--seconds 20]

Fills an SQLite database, serves it as `copg up` does, and opens the page in a real Chromium on the same machine. Reported: from the
request of the page to its first picture (cold: a fresh browser and a server that has read nothing; warm: once more);
while every run gets an evaluation every two seconds, what the live updates fetched, in requests, points and bytes; the long tasks of the
browser's main thread while it updates, is scrolled, and is zoomed into.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Response, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend import claims, runs
from backend.database import Database
from backend.migrations import upgrade
from benchmarks.dashboard import served
from benchmarks.goals import tell
from copg_core.config import CopgConfig
from copg_core.events import Evaluation, Sample
from tests.e2e.conftest import CHROMIUM_FLAGS, free_port

GOALS = {"first_picture_warm_s": 1.5, "longest_task_scrolling_ms": 100.0, "longest_task_zooming_ms": 100.0}
LEASE = 3600.0
PROMPTS = 64
WATCH = """
window.drawn = []; window.tasks = [];
window.addEventListener('copg:drawn', (event) => {
  const figure = event.detail.figure;
  requestAnimationFrame(() => setTimeout(() => window.drawn.push({figure, at: performance.now()})));
});
new PerformanceObserver((list) => list.getEntries().forEach((one) => window.tasks.push(one.duration))).observe({type: 'longtask', buffered: true});
"""


def evaluation(step: int, level: float, *, samples: bool) -> Evaluation:
    """What a run measures at a step; single completions at its first and last evaluation alone, to fill quickly."""
    scored = [
        Sample(prompt_index=at, prompt=f"post {at}", completion=f"summary {at}", reward=level + at / PROMPTS, gold=None,
               kl=0.1, length=24, finished=True)
        for at in range(PROMPTS if samples else 0)
    ]  # fmt: skip
    return Evaluation(step=step, n=PROMPTS, reward_mean=level, reward_stderr=0.05, kl=0.001 * step**0.5, length_mean=24.0,
                      unfinished_share=0.0, samples=tuple(scored))  # fmt: skip


class Growing:
    """The runs, with a worker's hands on them."""

    def __init__(self, database: Database, count: int, evaluations: int) -> None:
        self._database, self.step = database, evaluations
        self._chance = random.Random(0)
        self.uids, self._claims = [], []
        for number in range(count):
            with database.transaction() as session:
                config = CopgConfig(beta=0.01 * 1.2**number, steps=10**6)
                self.uids.append(runs.create(session, config, name=f"run {number}").uid)
        for number, uid in enumerate(self.uids):
            with database.transaction() as session:
                claim = claims.claim(session, uid, "benchmark", LEASE)
            assert claim is not None
            self._claims.append((claim.run_id, claim.fence))
            for begin in range(0, evaluations, 500):
                steps = range(begin, min(begin + 500, evaluations))
                self._record(number, [evaluation(50 * at, self._level(number, at), samples=at in (0, evaluations - 1)) for at in steps])  # fmt: skip

    def _level(self, number: int, at: int) -> float:
        return number / 20 + (at / self.step) ** 0.5 + self._chance.gauss(0, 0.05)

    def _record(self, number: int, batch: list[Evaluation]) -> None:
        with self._database.transaction() as session:
            claims.renew(session, *self._claims[number], LEASE, batch)

    def go_on(self, every: float, over: threading.Event) -> None:
        """One evaluation of every run, again and again."""
        while not over.wait(every):
            for number in range(len(self.uids)):
                self._record(number, [evaluation(50 * self.step, self._level(number, self.step), samples=True)])
            self.step += 1


def first_picture(page: Page, address: str) -> float:
    """Seconds from asking for the page to its first figure, drawn and painted."""
    page.goto(address, wait_until="commit")
    page.wait_for_function("window.drawn.some((one) => one.figure === 'compare-reward')", timeout=120_000)
    at = page.evaluate("window.drawn.find((one) => one.figure === 'compare-reward').at")
    return float(at) / 1000


def longest(page: Page) -> float:
    """The longest task since the last call, in milliseconds; 0 where none took more than 50."""
    tasks = page.evaluate("window.tasks.splice(0)")
    return float(max(tasks, default=0.0))


def measure(base: str, growing: Growing, seconds: float) -> dict[str, Any]:
    address = f"{base}/compare?{'&'.join(f'run={uid}' for uid in growing.uids)}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
        context.add_init_script(WATCH)
        page = context.new_page()
        found: dict[str, Any] = {"first_picture_cold_s": first_picture(page, address)}
        page.wait_for_timeout(3000)
        found["first_picture_warm_s"] = first_picture(page, address)
        page.wait_for_timeout(3000)
        found["longest_task_opening_ms"] = longest(page)
        for _ in range(10):
            page.mouse.move(700, 450)
            page.mouse.wheel(0, 300)
            page.wait_for_timeout(150)
        found["longest_task_scrolling_ms"] = longest(page)
        page.evaluate("window.scrollTo(0, 0)")
        figure = page.locator("[data-testid='figure-compare-reward'] .nsewdrag").first
        figure.scroll_into_view_if_needed()
        box = figure.bounding_box()
        assert box is not None
        page.wait_for_timeout(500)
        longest(page)
        for share in (0.6, 0.5):
            page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.8 * box["height"], steps=20)
            page.mouse.up()
            page.wait_for_timeout(700)
        found["longest_task_zooming_ms"] = longest(page)

        answers: list[Response] = []
        page.on("response", lambda answer: answers.append(answer) if "/compare/figures/" in answer.url else None)
        over = threading.Event()
        writer = threading.Thread(target=growing.go_on, args=(2.0, over))
        begin = growing.step
        writer.start()
        page.wait_for_timeout(seconds * 1000)
        over.set()
        writer.join()
        page.wait_for_timeout(5000)
        found["longest_task_updating_ms"] = longest(page)
        found["evaluations_meanwhile"] = growing.step - begin
        tails = [one for one in answers if "/points?" in one.url]
        found["requests_of_new_points"] = len(tails)
        found["requests_of_whole_figures"] = len(answers) - len(tails)
        bodies = [one.body() for one in tails]
        ends = [len(trace["arrays"].get("x", ())) for body in bodies for trace in json.loads(body)["traces"]]
        found["points_of_a_curve_per_request"] = sum(ends) / max(1, len(ends))
        found["bytes_of_new_points_per_request"] = sum(map(len, bodies)) / max(1, len(bodies))
        whole = page.request.get(address.replace("/compare?", "/api/v1/compare/figures/reward?"))
        found["bytes_of_a_whole_figure"] = len(whole.body())
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="five runs of 40 evaluations for six seconds: does it run?"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--evaluations", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.runs, chosen.evaluations, chosen.seconds = 5, 40, 6
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/copg.sqlite3"
        upgrade(url)
        began = time.perf_counter()
        growing = Growing(Database(url), chosen.runs, chosen.evaluations)
        print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        port = free_port()
        with served(url, Path(folder), port):
            found = measure(f"http://127.0.0.1:{port}", growing, chosen.seconds)
    tell(found, GOALS, chosen.json)


if __name__ == "__main__":
    main()
