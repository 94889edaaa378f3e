"""How long it takes from the moment that a point is recorded to the moment that it is on a viewer's screen.

    python benchmarks/live.py [--quick] [--json FILE]

Starts a studio of its own (SQLite, embedded broker), trains a small run that is evaluated at every step, and watches its reward
curve in a real Chromium on the same machine, so that training, server and browser share the cores. "Recorded" is the
database's time of the evaluation, "on screen" the browser's time after the plot was drawn: both read one clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.e2e.conftest import CHROMIUM_FLAGS, Studio, start_studio, stop_studio

WATCH = """
window.draws = [];
window.addEventListener('copg:drawn', (event) => {
  if (event.detail.figure !== 'reward') return;
  const plot = document.querySelector('[data-testid="figure-reward"] .js-plotly-plot');
  const last = plot ? Math.max(-1, ...plot.data.flatMap((trace) => trace.x && trace.x.length ? [Number(trace.x.at(-1))] : [])) : -1;
  window.draws.push({at: event.detail.at, last});
});
"""


def measure(studio: Studio, steps: int) -> list[float]:
    """Seconds from record to screen, for each evaluation that came while the page was open."""
    config: dict[str, Any] = {
        "algorithm": "sft",
        "policy": {"kind": "preset", "size": "nano"},
        "data": {"kind": "task", "train_size": 2000, "validation_size": 64},
        "reward": {"kind": "gold"},
        "batch_size": 64,
        "steps": steps,
        "evaluation": {"every": 1, "prompts": 8, "generation": {"max_new_tokens": 16}},
    }
    run = studio.post("/runs", {"config": config})["id"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM_FLAGS)
        # Waiting by a text that the page evaluates is what its policy forbids.
        page = browser.new_page(viewport={"width": 1440, "height": 900}, bypass_csp=True)
        page.add_init_script(WATCH)
        page.goto(f"{studio.url}/runs/{run}")
        page.wait_for_function("window.draws.some((draw) => draw.last >= 1)", timeout=120_000)
        first = page.evaluate("window.draws.at(-1).last")
        page.wait_for_function(f"window.draws.at(-1).last >= {steps}", timeout=600_000)
        draws = page.evaluate("window.draws")
        browser.close()
    waits = []
    for evaluation in studio.get(f"/runs/{run}/evaluations")["items"]:
        if evaluation["step"] > first:
            shown = min(draw["at"] for draw in draws if draw["last"] >= evaluation["step"]) / 1000
            waits.append(shown - datetime.fromisoformat(evaluation["recorded_at"]).timestamp())
    return waits


def main() -> None:
    """Print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        studio = start_studio(Path(folder) / "data")
        try:
            waits = measure(studio, 60 if chosen.quick else 300)
        finally:
            stop_studio(studio)
    p50, p95 = np.percentile(waits, [50, 95])
    print(f"{len(waits)} points: recorded -> on screen p50 {p50:.3f} s, p95 {p95:.3f} s, longest {max(waits):.3f} s")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({"points": len(waits), "p50_s": p50, "p95_s": p95, "longest_s": max(waits)}))


if __name__ == "__main__":
    main()
