"""Real trainings on two machines that share a database, a broker and a store, but no folder."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import store
from tests.worker.stack import Stack
from tests.worker.test_end_to_end import copg, processes, sft

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def stack(tmp_path: Path, sqlite_url: str) -> Iterator[Stack]:
    stack = Stack(tmp_path, sqlite_url, artifacts_url=(tmp_path / "store").as_uri())
    yield stack
    stack.close()


def test_a_run_and_its_child_go_on_bit_for_bit_on_a_machine_that_never_saw_their_files(
    stack: Stack, tmp_path: Path
) -> None:
    first = stack.worker(data_dir=str(tmp_path / "one"))
    base = stack.ended(stack.new(sft(10)))
    alone = stack.ended(stack.new(copg(base, 100), "left alone"))
    moved = stack.new(copg(base, 100), "moved")
    stack.until(lambda: (stack.now(moved).checkpoint_step or 0) >= 10)
    first.send_signal(signal.SIGKILL)
    first.wait()
    stack.until(lambda: processes(moved) == [])
    left_at = stack.now(moved).checkpoint_step
    shutil.rmtree(tmp_path / "one")
    stack.worker(data_dir=str(tmp_path / "two"))
    ended = stack.ended(moved)
    assert ended.attempt == 2
    assert stack.recorded(ended) == stack.recorded(alone)
    cache = tmp_path / "two" / "cache" / "artifacts"
    fetched = sorted(path.name for entry in cache.iterdir() if entry.is_dir() for path in entry.iterdir())
    assert {"model.safetensors", "optimizer.safetensors", "run.json", "config.json"} <= set(fetched)
    outputs = [Path(str(store.as_path(str(run.output_path)))) for run in (alone, ended)]
    weights = [(output / "model.safetensors").read_bytes() for output in outputs]
    assert weights[0] == weights[1]
    assert left_at is not None
    log = b"".join(store.read(f"{stack.settings.artifacts_url}/runs/{moved.uid}/log.txt")).decode()
    assert log.count("training") > 0
