"""A recorder for the terminal: one progress bar with reward, loss and remaining time, and a line for each evaluation."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from copg_core.events import CheckpointSaved, Evaluation, Event, Finished, Metrics, Report, Stage, Started

_STAGES = {
    "loading": "Loading the model",
    "encoding": "Reading and encoding the data",
    "reference": "Log-probabilities of the reference",
    "rewards": "Rewards of the pairs",
    "training": "Training",
    "evaluating": "Evaluating",
    "saving": "Saving",
}


class ProgressBar:
    """Shows a run as it goes. A context manager, and a Recorder."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
        )
        self._stage: TaskID | None = None
        self._training: TaskID | None = None
        self._reward = ""

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def record(self, event: Event) -> None:
        """Show what one event says."""
        match event:
            case Stage():
                self._show_stage(event)
            case Started(step=step, total_steps=total):
                self._training = self._progress.add_task("Training", total=total, completed=step, figures="")
            case Metrics(step=step, values=values) if self._training is not None:
                loss = values.get("loss")
                figures = f"loss {loss:.4f}" if loss is not None else "loss -"
                self._progress.update(self._training, completed=step, figures=f"{figures}{self._reward}")
            case Evaluation():
                self._reward = f"  reward {event.reward_mean:.3f}" if event.reward_mean is not None else ""
                self.console.print(_evaluation_line(event), highlight=False)
            case Report(section=section, values=values):
                facts = ", ".join(f"{name} {value}" for name, value in values.items())
                self.console.print(f"{section}: {facts}", style="dim", highlight=False)
            case CheckpointSaved(step=step, path=path):
                self.console.print(f"step {step}: checkpoint {path}", style="dim", highlight=False)
            case Finished(step=step, output=output):
                self.console.print(f"finished after {step} steps: {output}", style="bold", highlight=False)
            case _:
                pass

    def _show_stage(self, event: Stage) -> None:
        if event.name in ("training", "evaluating") and self._training is not None:
            self._progress.update(self._training, description=_STAGES[event.name])
            return
        if self._stage is not None:
            self._progress.remove_task(self._stage)
        self._stage = None
        if self._training is None:
            self._stage = self._progress.add_task(
                _STAGES[event.name], total=event.total or None, completed=event.done, figures=""
            )


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
