"""The file between training and supervisor: whole lines, nothing lost, and what counts after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from copg_core.errors import StorageError
from copg_core.events import CheckpointSaved, Event, Failed, Finished, Metrics, Stage, Started
from worker.spool import SpoolReader, SpoolRecorder, recover


def metrics(step: int) -> Metrics:
    return Metrics(step=step, values={"loss": 1.0, "kl": None})


def write(path: Path, *events: Event) -> None:
    recorder = SpoolRecorder(path)
    for event in events:
        recorder.record(event)
    recorder.close()


def test_events_arrive_in_order_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    reader = SpoolReader(path)
    assert reader.read() == []  # the process has not started to write
    write(path, metrics(1), metrics(2), metrics(3))
    assert reader.read(limit=2) == [metrics(1), metrics(2)]
    with path.open("ab") as file:
        file.write(b'{"event": "metrics", "step": 4,')
    assert reader.read() == [metrics(3)]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(b' "values": {}}\n')
    assert reader.read() == [Metrics(step=4, values={})]


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    path.write_bytes(b"\x00\x00garbage\n")
    write(path, metrics(1))
    assert SpoolReader(path).read() == [metrics(1)]


def test_recovery_keeps_what_the_last_whole_checkpoint_stands_for(tmp_path: Path) -> None:
    path, whole = tmp_path / "spool.jsonl", tmp_path / "step-2"
    whole.mkdir()
    saved = CheckpointSaved(step=2, path=str(whole), bytes=1)
    torn = CheckpointSaved(step=4, path=str(tmp_path / "step-4"), bytes=1)
    write(path, Stage(name="loading"), Started(step=0, total_steps=9), metrics(1), metrics(2), saved, metrics(3), torn)
    assert recover(path) == [metrics(1), metrics(2), saved]


def test_recovery_without_a_checkpoint_keeps_nothing_and_an_end_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "spool.jsonl"
    assert recover(path) == []
    write(path, metrics(1), metrics(2))
    assert recover(path) == []
    write(path, Failed(kind="data", message="m"))
    assert recover(path) == [metrics(1), metrics(2), Failed(kind="data", message="m")]
    finished = tmp_path / "finished.jsonl"
    write(finished, metrics(1), Finished(step=1, output=str(tmp_path / "gone")))
    assert recover(finished) == []  # the output is not there: train again
    write(finished, Finished(step=1, output=str(tmp_path)))
    assert len(recover(finished)) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    recorder = SpoolRecorder(Path("/dev/full"))
    with pytest.raises(StorageError, match="the disk is full"):
        recorder.record(metrics(1))
    recorder.close()
