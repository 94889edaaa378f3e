"""A recorder for the terminal: one progress bar with reward, loss and remaining time, and a line for each evaluation."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from copg_core.events import Evaluation, Event, Finished, Metrics, Stage, Started
from copg_core.narration import STAGES, line_of


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
            case _:
                pass
        if not isinstance(event, Started) and (line := line_of(event)) is not None:
            style = None if isinstance(event, Evaluation) else "bold" if isinstance(event, Finished) else "dim"
            self.console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)

    def _show_stage(self, event: Stage) -> None:
        if event.name in ("training", "evaluating") and self._training is not None:
            self._progress.update(self._training, description=STAGES[event.name])
            return
        if self._stage is not None:
            self._progress.remove_task(self._stage)
        self._stage = None
        if self._training is None:
            self._stage = self._progress.add_task(
                STAGES[event.name], total=event.total or None, completed=event.done, figures=""
            )
