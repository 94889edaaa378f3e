"""How long it takes from a moved slider to the new picture on the bandit page, and how many pictures a second there are.

    python benchmarks/bandit_page.py [--quick] [--beside] [--json FILE]

Starts a studio of its own and drags the beta slider in a real Chromium on the same machine, so that server, browser and
painting share its cores. Every `input` event of the slider is an event that must become visible: its latency ends after the
first drawing of the regret that shows its value or a later one of the same drag, and after the browser's next frame.
Drags of a sampler's slider, for which pairs are drawn anew, and of beta with ten seeds follow. `--beside` drags beta once more on
the same page with the obvious torch loop behind it (side_by_side/bandit_loop.py). On a machine that others use too,
wall times say little; the CPU time that a picture costs the server and the browser's renderer (Linux) says more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.conftest import CHROMIUM_FLAGS, start_studio, stop_studio

WATCH = """
window.moves = []; window.pictures = []; window.sent = 0;
document.addEventListener('input', (event) => {
  if (event.target.type !== 'range') return;
  const number = event.target.parentElement.querySelector('input[type=number]');
  window.moves.push({at: performance.now(), number});
  // React writes the rounded value into the field in the same task.
  queueMicrotask(() => setTimeout(() => { const move = window.moves.at(-1); move.value = number.value; }));
}, true);
window.addEventListener('copg:drawn', (event) => {
  const cursor = event.detail.cursor;
  requestAnimationFrame(() => setTimeout(() => window.pictures.push({at: performance.now(), cursor})));
});
"""

DRAGS = (("beta", "", "beta"), ("mu1", "", "mu1-1"), ("beta, ten seeds", "?seeds=10", "beta"))
LOOP = Path(__file__).resolve().parent / "side_by_side" / "bandit_loop.py"
TOKEN = f"bandit-page-{os.getpid()}"  # by which our renderers are told from another browser's


def cpu_ms(chosen: Callable[[int, str], bool]) -> float:
    """CPU milliseconds so far of the processes whose id and command line are chosen."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # a process may end while one looks
            if chosen(int(folder.name), (folder / "cmdline").read_text()):
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
    return total * 1000 / os.sysconf("SC_CLK_TCK")


def drag(page: Page, dial: str, seconds: float, server: int, token: str) -> dict[str, Any]:
    """Move a slider to and fro at about 60 Hz and see what is drawn."""
    box = page.get_by_test_id(f"dial-{dial}").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    used = {
        "server": lambda number, _: number == server,
        "renderer": lambda _, line: "=renderer" in line and token in line,
    }
    before = {name: cpu_ms(chosen) for name, chosen in used.items()}
    page.evaluate("window.moves = []; window.pictures = []")
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    started = page.evaluate("performance.now()")
    turn = 0.0
    while (now := page.evaluate("performance.now()")) < started + seconds * 1000:
        turn = (now - started) / 1000
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.3 * float(np.sin(2 * turn))), y)
        page.wait_for_timeout(12)
    ended = page.evaluate("performance.now()")
    page.wait_for_timeout(100)  # the last picture of the drag, while the slider is still held
    while not page.evaluate("window.pictures.length"):  # waiting by a string to evaluate is what the page forbids
        page.wait_for_timeout(50)
    page.wait_for_timeout(1500)
    moves = page.evaluate("window.moves.map(({at, value}) => ({at, value}))")
    pictures = page.evaluate("window.pictures")
    spent = {f"{name}_cpu_ms": (cpu_ms(chosen) - before[name]) / len(pictures) for name, chosen in used.items()}
    page.mouse.up()
    page.wait_for_timeout(1500)
    key = dial.rsplit("-", 1)[0]
    waits, shown = [], []
    reached = 0
    for picture in pictures:
        value = dict(part.split("=") for part in picture["cursor"].split("&") if part).get(key, "")
        # The newest move with this value that had happened: a slider passes the same value twice.
        hits = [
            number
            for number in range(reached, len(moves))
            if moves[number]["at"] < picture["at"] and same(moves[number]["value"], value, dial)
        ]
        if not hits:
            continue
        waits += [picture["at"] - moves[number]["at"] for number in range(reached, hits[0] + 1)]
        reached = hits[0] + 1
        shown.append(picture["at"])
    during = [at for at in shown if at <= ended]
    return {
        "moves": len(moves),
        "pictures_per_second": len(during) / ((ended - started) / 1000),
        "p50_ms": float(np.percentile(waits, 50)),
        "p95_ms": float(np.percentile(waits, 95)),
        "longest_ms": max(waits),
        "unseen_moves": len(moves) - reached,
        **spent,
    }


def same(move: str, shown: str, dial: str) -> bool:
    """Whether a picture's address has the value of a move; beta's own default is not written."""
    if dial == "beta":
        return move == (shown or "0.5")
    return shown.split(",")[int(dial.rsplit("-", 1)[1]) - 1 :][:1] == [move]


def measure(
    drags: Iterable[tuple[str, str, str]], seconds: float, program: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Every drag (its name, the page's query, the slider) in one studio, which `program` may stand in for."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        studio = start_studio(Path(folder) / "data", program=program)
        try:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=[*CHROMIUM_FLAGS, f"--user-agent={TOKEN}"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.add_init_script(WATCH)
            for name, query, dial in drags:
                for length in (1.0, seconds):  # the first pictures pay for compilation
                    page.goto(f"{studio.url}/bandit{query}")
                    page.wait_for_selector("[data-drawn]")
                    page.wait_for_timeout(1000)
                    found[name] = drag(page, dial, length, studio.process.pid, TOKEN)
                print(
                    f"{name:16s} {found[name]['pictures_per_second']:5.1f} pictures a second; slider -> picture "
                    f"p50 {found[name]['p50_ms']:.0f} ms, p95 {found[name]['p95_ms']:.0f} ms, "
                    f"longest {found[name]['longest_ms']:.0f} ms ({found[name]['moves']} moves); "
                    f"CPU a picture: server {found[name]['server_cpu_ms']:.0f} ms, renderer {found[name]['renderer_cpu_ms']:.0f} ms",
                    flush=True,
                )
            browser.close()
        finally:
            stop_studio(studio)
    return found


def main() -> None:
    """Print the distributions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter drags")
    parser.add_argument("--beside", action="store_true", help="the same page with the obvious torch loop too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    chosen = parser.parse_args()
    seconds = 3.0 if chosen.quick else 12.0
    found = measure(DRAGS, seconds)
    if chosen.beside:
        found |= measure((("beta, torch loop", "", "beta"),), max(seconds, 12.0), LOOP)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
