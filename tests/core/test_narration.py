"""The lines of a log."""

from __future__ import annotations

import io

from copg_core.events import Evaluation, Finished, Metrics, Report, Stage, Started
from copg_core.narration import LogWriter


def test_a_log_tells_a_run_from_its_data_to_its_end_without_a_line_for_each_step() -> None:
    file = io.StringIO()
    log = LogWriter(file, seconds_between_losses=3600)
    log.record(Stage(name="loading"))
    log.record(Stage(name="rewards", done=1, total=2))
    log.record(Stage(name="rewards", done=2, total=2))
    log.record(Report(section="pairs", values={"train": 8, "ties_dropped": 1, "share": 0.123456}))
    log.record(Started(step=0, total_steps=3))
    for step in (1, 2, 3):
        log.record(Stage(name="training"))
        log.record(Metrics(step=step, values={"loss": 0.5, "learning_rate": 0.1}))
    log.record(Evaluation(step=3, n=4, reward_mean=1.5, reward_stderr=0.25, kl=2.0, unfinished_share=0.25))
    log.record(Finished(step=3, output="/data/output"))
    lines = [line.partition("Z ")[2] for line in file.getvalue().splitlines()]
    assert lines == [
        "Loading the model",
        "Rewards of the pairs",
        "pairs: train 8, ties_dropped 1, share 0.1235",
        "training from step 0 of 3",
        "step 1: loss 0.5",
        "step 3:  reward 1.500 ± 0.250  KL 2.00  without EOS 25%  (n = 4)",
        "finished after 3 steps: /data/output",
    ]


def test_a_metric_that_is_not_a_number_is_written_as_none() -> None:
    file = io.StringIO()
    LogWriter(file).record(Metrics(step=1, values={"loss": None}))
    assert file.getvalue().endswith("step 1: loss None\n")
