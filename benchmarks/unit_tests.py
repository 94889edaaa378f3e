"""Published solutions of MBPP and HumanEval through the sandbox: how many pass all their tests, and what a program costs.

python benchmarks/unit_tests.py [--quick] [--data FOLDER]     FOLDER holds mbpp.jsonl, sanitized-mbpp.json, HumanEval.jsonl.gz
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

from copg_core.reward_sources import UnitTestReward
from copg_core.rewards.unit_tests import UnitTestScorer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "code_mbpp_humaneval"
HUMANEVAL = {"tests": "test", "entry_point": "entry_point", "prompt_is_code": True}
SETS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("mbpp.jsonl", "text", "code", {"setup": "test_setup_code"}),
    ("sanitized-mbpp.json", "prompt", "code", {"setup": "test_imports"}),
    ("HumanEval.jsonl.gz", "prompt", "canonical_solution", HUMANEVAL),
]


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of one of the three files."""
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return list(json.loads(text)) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true", help="the first 20 programs of each file")
    parser.add_argument("--seconds", type=float, default=10.0, help="time limit of one program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts and times here")
    arguments = parser.parse_args()
    figures = {}
    if not arguments.data.is_dir():
        print(f"skipped: there is no folder {arguments.data}")
        return
    for name, prompt, code, source in SETS:
        rows = rows_of(arguments.data / name)[: 20 if arguments.quick else None]
        scorer = UnitTestScorer(UnitTestReward(score="all", seconds=arguments.seconds, **source))
        started = time.perf_counter()
        rewards = scorer.score([row[prompt] for row in rows], [row[code] for row in rows], None, rows)
        seconds = time.perf_counter() - started
        failed = [row["task_id"] for row, reward in zip(rows, rewards, strict=True) if not reward]
        figures[name] = {"passed": int(rewards.sum()), "programs": len(rows), "seconds": seconds, "failed": failed}
        print(
            f"{name}: {int(rewards.sum())} of {len(rows)} pass, {seconds:.1f} s with 2 sandboxes at a time "
            f"({1e3 * seconds / len(rows):.0f} ms a program); failed: {failed or 'none'}"
        )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
