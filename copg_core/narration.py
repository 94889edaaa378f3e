"""What a run reports, as lines for people: the log of a queued run and the terminal of one that runs alone say the same."""

from __future__ import annotations

import time
from typing import TextIO

from copg_core.events import CheckpointSaved, Evaluation, Event, Finished, Metrics, Report, Stage, Started

STAGES = {
    "loading": "Loading the model",
    "encoding": "Reading and encoding the data",
    "reference": "Log-probabilities of the reference",
    "rewards": "Rewards of the pairs",
    "training": "Training",
    "evaluating": "Evaluating",
    "saving": "Saving",
}


def line_of(event: Event) -> str | None:
    """One line for what is worth a line; None for what only moves a bar.

    >>> line_of(Started(step=0, total_steps=100))
    'training from step 0 of 100'
    """
    match event:
        case Started(step=step, total_steps=total):
            return f"training from step {step} of {total}"
        case Evaluation():
            return _evaluation_line(event)
        case Report(section="time"):
            return None  # comes after every evaluation
        case Report(section=section, values=values):
            return f"{section}: {', '.join(f'{name} {_short(value)}' for name, value in values.items())}"
        case CheckpointSaved(step=step, path=path):
            return f"step {step}: checkpoint {path}"
        case Finished(step=step, output=output):
            return f"finished after {step} steps: {output}"
        case _:
            return None


class LogWriter:
    """A recorder that writes time-stamped lines: stages as they begin, reports, evaluations, a loss every ten seconds."""

    def __init__(self, file: TextIO, seconds_between_losses: float = 10.0) -> None:
        self._file = file
        self._pause = seconds_between_losses
        self._next_loss = 0.0
        self._stage = ""

    def record(self, event: Event) -> None:
        """Write the event's line, if it has one."""
        line = line_of(event)
        if isinstance(event, Stage) and event.name != self._stage:
            self._stage = event.name
            # Between its steps a run goes back and forth between training and evaluating: the evaluations say so.
            line = STAGES[event.name] if event.name not in ("training", "evaluating") else None
        elif isinstance(event, Metrics) and time.monotonic() >= self._next_loss:
            self._next_loss = time.monotonic() + self._pause
            shown = (
                f"{name} {_short(event.values[name])}" for name in ("loss", "gradient_norm") if name in event.values
            )
            line = f"step {event.step}: {'  '.join(shown)}"
        if line is not None:
            self.write(line)

    def write(self, line: str) -> None:
        """One line, with its time before it."""
        self._file.write(f"{time.strftime('%H:%M:%S', time.gmtime())}Z {line}\n")
        self._file.flush()


def _short(value: str | int | float | bool | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _evaluation_line(event: Evaluation) -> str:
    parts = [f"step {event.step}:"]
    if event.reward_mean is not None:
        error = f" ± {event.reward_stderr:.3f}" if event.reward_stderr is not None else ""
        parts.append(f"reward {event.reward_mean:.3f}{error}")
    for name, value in (("gold", event.gold_mean), ("KL", event.kl), ("length", event.length_mean)):
        if value is not None:
            parts.append(f"{name} {value:.2f}")
    if event.unfinished_share is not None:
        parts.append(f"without EOS {event.unfinished_share:.0%}")
    parts += [f"{name} {value:.4g}" for name, value in event.values.items() if value is not None]
    return "  ".join([*parts, f"(n = {event.n})"])
