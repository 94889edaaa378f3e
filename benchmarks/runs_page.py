"""Ten thousand runs in the list: from a key or a click to the picture that answers it.

    python benchmarks/runs_page.py [--quick] [--json FILE] [--runs 10000]

Fills an SQLite database, serves it as `copg up` does, and opens the list in a real Chromium on the same machine. An answer is
counted from the event's own time stamp to the last paint that it causes; what each kind of question takes is given as the slowest of its kind,
because a person remembers that one. Opening is counted from asking for the page to its first rows, and to all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend.database import Database
from backend.migrations import upgrade
from benchmarks.dashboard import served
from benchmarks.goals import tell
from benchmarks.store import make_runs
from tests.e2e.conftest import CHROMIUM_FLAGS, free_port

GOALS = {"first_rows_s": 1.0} | dict.fromkeys(
    ("search_ms", "filter_ms", "sort_ms", "select_ms", "select_all_ms", "move_ms"), 200.0
)
QUIET = 600  # ms after which an answer is taken for complete
WATCH = """
window.tasks = [];
new PerformanceObserver((list) => list.getEntries().forEach((one) => window.tasks.push(one.duration))).observe({type: 'longtask'});
for (const kind of ['keydown', 'pointerdown']) document.addEventListener(kind, (event) => { window.asked = event.timeStamp; window.painted = null; }, true);
const paint = () => requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
document.addEventListener('focusin', paint);
document.addEventListener('DOMContentLoaded', () => new MutationObserver(paint).observe(document.getElementById('root'), {subtree: true, childList: true, attributes: true, characterData: true}));
"""


def answered(page: Page) -> float:
    """Milliseconds from the last key or click to the last paint after it. Ends the benchmark where nothing is painted."""
    page.wait_for_function(
        f"window.painted !== null && performance.now() - window.painted > {QUIET}", timeout=20_000, polling=50
    )
    return float(page.evaluate("window.painted - window.asked"))


def opened(page: Page, address: str, count: int) -> tuple[float, float]:
    """Seconds until the first rows stand there, and until all of them are known."""
    page.goto(address, wait_until="commit")
    page.wait_for_function("document.querySelector('[data-run-id]') !== null", polling="raf")
    first = page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
    )
    page.wait_for_function(f"document.querySelector('[aria-rowcount]')?.getAttribute('aria-rowcount') === '{count + 1}'",
                           timeout=120_000, polling="raf")  # fmt: skip
    whole = page.evaluate("performance.now()")
    return float(first) / 1000, float(whole) / 1000


def measure(base: str, count: int) -> dict[str, Any]:
    times: dict[str, list[float]] = defaultdict(list)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
        context.add_init_script(WATCH)
        page = context.new_page()
        opened(page, f"{base}/runs", count)  # the server and the browser's cache are warm afterwards
        found: dict[str, Any] = dict(
            zip(("first_rows_s", "all_rows_s"), opened(page, f"{base}/runs", count), strict=True)
        )
        page.wait_for_timeout(3000)

        for words in ("member 59", "sweep 7", "nothing like it"):
            page.get_by_label("Search runs").click()
            page.wait_for_timeout(QUIET)
            for letter in words:
                page.keyboard.press(letter)
                times["search_ms"].append(answered(page))
            page.get_by_label("Search runs").fill("")
            page.wait_for_timeout(QUIET)
        for name in ("Failed", "Succeeded", "All"):
            page.get_by_role("group", name="Filter by state").get_by_role("button", name=name).click()
            times["filter_ms"].append(answered(page))
        for name in ("Last reward", "Beta", "Name", "Created"):
            for _ in range(2):  # down, then up
                page.get_by_role("columnheader", name=name).get_by_role("button").click()
                times["sort_ms"].append(answered(page))
        for place in range(3):
            page.get_by_test_id("run-row").nth(place).get_by_role("checkbox").click()
            times["select_ms"].append(answered(page))
        for _ in range(2):
            page.get_by_label("Select all shown").click()
            times["select_all_ms"].append(answered(page))
        page.evaluate("window.tasks.splice(0)")
        for key in "jjjjxkkx":
            page.keyboard.press(key)
            times["move_ms"].append(answered(page))
        page.evaluate("window.tasks.splice(0)")
        page.mouse.move(700, 500)
        for _ in range(30):
            page.mouse.wheel(0, 900)
            page.wait_for_timeout(60)
        found["longest_task_scrolling_ms"] = float(max(page.evaluate("window.tasks"), default=0.0))
        browser.close()
    return found | {name: max(taken) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three hundred runs: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--runs", type=int, default=10_000)
    chosen = parser.parse_args()
    count = 300 if chosen.quick else chosen.runs
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/copg.sqlite3"
        upgrade(url)
        began = time.perf_counter()
        make_runs(Database(url), count)
        print(f"filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        port = free_port()
        with served(url, Path(folder), port):
            found = measure(f"http://127.0.0.1:{port}", count)
    tell(found, GOALS, chosen.json)


if __name__ == "__main__":
    main()
