"""The built-in tasks by name: one line each."""

from __future__ import annotations

from copg_core.tasks.base import Task
from copg_core.tasks.miniature import Miniature

TASKS: dict[str, Task] = {"miniature": Miniature()}
