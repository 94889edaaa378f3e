"""A data source to its training and validation rows. Torch-free."""

from __future__ import annotations

from copg_core.config import DataSource, TaskData
from copg_core.datasets import builtin
from copg_core.datasets.rows import Comparison, Demonstration, Split


def load_demonstrations(source: DataSource) -> Split[Demonstration]:
    if isinstance(source, TaskData):
        return builtin.demonstrations(source)
    raise NotImplementedError


def load_comparisons(source: DataSource) -> Split[Comparison]:
    if isinstance(source, TaskData):
        return builtin.comparisons(source)
    raise NotImplementedError
