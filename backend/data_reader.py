"""Reads data files in a process of their own (copg_core/datasets/reading.py), so that no file can take the web process down.

Only one reads at a time here: a second core is left to the people who look at curves meanwhile. A preview takes its turn among
previews alone, since somebody waits for it and an analysis can take minutes.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from copg_core import datasets
from copg_core.datasets.preview import as_json
from copg_core.errors import DataError
from copg_core.sources import DataSource, FileData

PREVIEW_SECONDS = 20.0
SLACK_SECONDS = 60.0  # beyond the time that the reader gives itself
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT")
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
) | {"TOKENIZERS_PARALLELISM": "false", "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONUNBUFFERED": "1"}


class Unreadable(Exception):  # noqa: N818 - reads as what it says of the file
    """The file cannot be read; the message says why."""


class Stopped(Exception):  # noqa: N818 - not an error
    """`should_stop` said so."""


def analyse(
    source: FileData,
    keys: Path,
    *,
    seconds: float,
    progress: Callable[[int], None] = lambda rows: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """The report of copg_core.datasets.analysis; the digests of its prompts go to `keys`. Raises Unreadable, Stopped."""
    job = {"task": "analyse", "source": source.model_dump(mode="json"), "keys": str(keys), "seconds": seconds}
    report: dict[str, Any] = _read(job, seconds + SLACK_SECONDS, progress, should_stop)["report"]
    return report


def token_lengths(source: FileData, tokenizer: Path | None, rows: int, *, seconds: float) -> dict[str, Any]:
    """Lengths of prompts and completions in tokens, as `copg_core.datasets.token_lengths` gives them. Raises Unreadable."""
    job = {
        "task": "lengths",
        "source": source.model_dump(mode="json"),
        "tokenizer": str(tokenizer) if tokenizer else None,
        "rows": rows,
    }
    lengths: dict[str, Any] = _read(job, seconds, lambda rows: None, lambda: False)["lengths"]
    return lengths


def preview(source: DataSource, tries: Sequence[tuple[str, bool]], rows: int) -> dict[str, Any]:
    """The first rows, as `copg_core.datasets.preview.as_json` gives them, read as the first of `tries` that fits: (algorithm, whether
    prompts are all it needs). A source that is no file is read here. Raises Unreadable."""
    if not isinstance(source, FileData):
        [(algorithm, prompts), *_] = tries
        try:
            return as_json(datasets.preview(source, algorithm, rows, prompts=prompts))
        except DataError as error:
            raise Unreadable(str(error)) from error
    job = {"task": "preview", "source": source.model_dump(mode="json"), "tries": list(tries), "rows": rows}
    until = time.monotonic() + PREVIEW_SECONDS  # also for its turn, which takes a thread of those that answer requests
    try:
        answer = _read(job, PREVIEW_SECONDS, lambda rows: None, lambda: time.monotonic() > until, _PREVIEWS)
    except Stopped:
        raise Unreadable("reading it, or the previews before it, took too long and was stopped") from None
    seen: dict[str, Any] = answer["preview"]
    return seen


_ONE, _PREVIEWS = threading.Semaphore(1), threading.Semaphore(1)


def _read(
    job: dict[str, Any],
    seconds: float,
    progress: Callable[[int], None],
    should_stop: Callable[[], bool],
    turn: threading.Semaphore = _ONE,
) -> dict[str, Any]:
    while not turn.acquire(timeout=0.5):
        if should_stop():
            raise Stopped
    try:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _ONE_THREAD
        process = subprocess.Popen(
            [sys.executable, "-m", "copg_core.datasets.reading"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        with process:
            try:
                return _listen(process, job, time.monotonic() + seconds, progress, should_stop)
            finally:
                process.kill()
    finally:
        turn.release()


def _listen(
    process: subprocess.Popen[bytes],
    job: dict[str, Any],
    deadline: float,
    progress: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    except OSError:
        pass  # it died already: its exit code says more
    heard = bytearray()  # an answer of megabytes arrives in thousands of pieces
    trouble = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(0.25):
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    trouble = (trouble + chunk)[-4000:]
                else:
                    heard += chunk
                    if b"\n" not in chunk:
                        continue
                    *lines, heard = heard.split(b"\n")
                    for line in lines:
                        answer: dict[str, Any] = json.loads(line)
                        if "error" in answer:
                            raise Unreadable(answer["error"])
                        if "rows" not in answer:
                            return answer
                        progress(answer["rows"])
            if should_stop():
                raise Stopped
            if time.monotonic() > deadline:
                raise Unreadable("reading it took too long and was stopped")
    raise Unreadable(_why(process.wait(), trouble))


def _why(code: int, trouble: bytes) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in {one.value for one in signal.Signals} else f"signal {-code}"
        return (
            f"reading it ended the process that did ({name}): the file is damaged, or needs more memory than is given"
        )
    last = trouble.decode(errors="replace").strip().splitlines()
    return f"reading it failed: {last[-1][:300] if last else f'exit code {code}'}"
