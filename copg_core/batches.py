"""Where the rows of each optimizer step come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from copg_core.config import RunConfig
from copg_core.objectives import Array, Table
from copg_core.schedule import batch_rows


class Batches(Protocol):
    """Gives each step its rows. Whatever is not a pure function of (seed, step) is `state`, kept in checkpoints."""

    def batch(self, step: int) -> tuple[Table, list[int]]:
        """A table and the indices of this step's rows in it, the whole batch, over all processes."""
        ...

    def metrics(self, step: int, output: Array, indices: Sequence[int]) -> dict[str, float]:
        """What is recorded of the batch of `step` beside its loss; `output` is what the module gave for rows `indices`."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs to give the same batches again; empty where the step number is enough."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back a state."""
        ...


class DataBatches:
    """The data's own rows, in an order that is a function of (seed, epoch)."""

    def __init__(self, table: Table, config: RunConfig) -> None:
        self._table, self._batch_size, self._seed = table, config.batch_size, config.seed

    def batch(self, step: int) -> tuple[Table, list[int]]:
        return self._table, batch_rows(step, len(self._table), self._batch_size, self._seed)

    def metrics(self, step: int, output: Array, indices: Sequence[int]) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing: the step number says it all."""
