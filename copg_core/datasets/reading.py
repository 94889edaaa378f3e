"""The process that reads a file nobody vouches for: `python -m copg_core.datasets.reading`, one JSON job on standard input.

It limits its own memory and priority, because a file of a few bytes can ask a reader for all there is, and what it does to
its process it does to nobody else. Standard output has one JSON object a line: `{"rows": n}` while it reads, at the end
`{"report": ...}`, `{"lengths": ...}`, `{"preview": ...}` or `{"error": "..."}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from copg_core.datasets.analysis import analyse
from copg_core.datasets.preview import as_json, preview
from copg_core.datasets.token_lengths import token_lengths
from copg_core.errors import CopgError, DataError
from copg_core.sources import FileData

MEMORY_BYTES = 3 * 2**30  # of addresses, of which libraries reserve more than they use
SECONDS = 600.0
_TELL_SECONDS = 0.5


def work(job: dict[str, Any], out: TextIO) -> None:
    """Do one job: `{"task": "analyse", "source", "keys"}`, `{"task": "lengths", "source", "tokenizer", "rows"}` or
    `{"task": "preview", "source", "tries", "rows"}`, where tries are (algorithm, prompts alone): the first that fits is shown."""
    source = FileData.model_validate(job["source"])
    answer: dict[str, Any]
    try:
        if job["task"] == "lengths":
            tokenizer = Path(job["tokenizer"]) if job["tokenizer"] else None
            answer = {"lengths": token_lengths(source, tokenizer, job["rows"])}
        elif job["task"] == "preview":
            answer = {"preview": _preview(source, job["tries"], job["rows"])}
        else:
            analysis = analyse(source, progress=_teller(out), seconds=job.get("seconds", SECONDS))
            analysis.save_keys(Path(job["keys"]))
            answer = {"report": analysis.report}
    except CopgError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"reading it takes more memory than is given to it ({MEMORY_BYTES >> 30} GiB)"}
    _say(out, answer)


def _preview(source: FileData, tries: list[tuple[str, bool]], rows: int) -> dict[str, Any]:
    failed: DataError | None = None
    for algorithm, prompts in tries:
        try:
            return as_json(preview(source, algorithm, rows, prompts=prompts))
        except DataError as error:
            # Prompts alone are what is left: where they do not fit either, what was missed is the rest.
            failed = error if failed is None or not prompts else failed
    assert failed is not None
    raise failed


def _teller(out: TextIO) -> Any:
    told = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            _say(out, {"rows": rows})  # to a reader that is gone this raises, which ends the work

    return tell


def _say(out: TextIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _limit() -> None:
    os.nice(10)
    try:
        import resource
    except ImportError:  # no such limits on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit()
    work(json.loads(sys.stdin.readline()), sys.stdout)
