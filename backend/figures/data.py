"""What figures are drawn from, read in one snapshot: a run, its evaluations, its curves, and where they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend import metrics
from backend.metrics import Curve
from backend.models import Evaluation, Run

MAX_POINTS = 600  # of one curve: what a browser redraws within a frame or two


@dataclass(frozen=True)
class Cursor:
    """The last optimizer step and the last evaluated step that a viewer has. The two arrive independently."""

    metric_step: int = -1
    evaluation_step: int = -1

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Back from `str(cursor)`."""
        first, second = text.split(".")
        return cls(int(first), int(second))

    def __str__(self) -> str:
        return f"{self.metric_step}.{self.evaluation_step}"

    @property
    def is_start(self) -> bool:
        """Whether nothing was drawn yet."""
        return self.metric_step < 0 and self.evaluation_step < 0


@dataclass(frozen=True)
class EvaluationRow:
    """One evaluation, its usual measures and those of its algorithm in one dictionary."""

    step: int
    n: int
    values: Mapping[str, float | None]

    def __getitem__(self, name: str) -> float | None:
        return self.values.get(name)


@dataclass(frozen=True)
class RunData:
    """The numbers of one run. `curves` has an entry for every metric that was asked for, empty where there is none; they begin
    after the step `seen`."""

    algorithm: str
    config: Mapping[str, Any]
    fence: int = 0
    evaluations: Sequence[EvaluationRow] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    seen: int = -1

    @property
    def cursor(self) -> Cursor:
        """Where the data ends; where nothing came after what was seen, there."""
        steps = [steps[-1] for steps, _ in self.curves.values() if steps]
        return Cursor(max(steps, default=self.seen), self.evaluations[-1].step if self.evaluations else -1)

    def evaluated(self, name: str) -> list[float | None]:
        """One measure over all evaluations."""
        return [row[name] for row in self.evaluations]

    @property
    def steps(self) -> list[int]:
        """The evaluated steps."""
        return [row.step for row in self.evaluations]

    @property
    def n(self) -> int | None:
        """Prompts, or pairs, of the last evaluation."""
        return self.evaluations[-1].n if self.evaluations else None


def load(session: Session, run: Run, metric_names: Sequence[str], *, after: Cursor | None = None) -> RunData:
    """Read what a figure needs. With `after`, curves hold only later steps; evaluations are few and always whole,
    because levels and axes depend on the first one."""
    rows = session.execute(select(*_COLUMNS).where(Evaluation.run_id == run.id).order_by(Evaluation.step))
    evaluations = [_row(row) for row in rows]
    start = Cursor().metric_step if after is None else after.metric_step
    curves = metrics.curve(session, run.id, metric_names, start, MAX_POINTS) if metric_names else {}
    return RunData(run.algorithm, run.config, run.fence, evaluations, curves, seen=start)


_USUAL = ("reward_mean", "reward_stderr", "kl", "length_mean", "unfinished_share", "gold_mean")
_COLUMNS = (Evaluation.step, Evaluation.n, Evaluation.values, *(getattr(Evaluation, name) for name in _USUAL))


def _row(row: Sequence[Any]) -> EvaluationRow:
    step, n, values, *usual = row
    return EvaluationRow(step, n, {**values, **dict(zip(_USUAL, usual, strict=True))})
