"""Built-in synthetic tasks with a gold reward, for the demo and the tests."""

from copg_core.tasks.base import Task
from copg_core.tasks.table import TASKS

__all__ = ["TASKS", "Task"]
