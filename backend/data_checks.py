"""Whether the data that configurations name can be used, before anything is queued: the same for a run, a pipeline and a sweep."""

from __future__ import annotations

from collections.abc import Callable

from backend.data_files import as_file_where_analysed
from backend.database import Database
from backend.settings import Settings
from copg_core import datasets
from copg_core.config import RunConfig, prompts_alone
from copg_core.errors import DataError
from copg_core.reward_sources import with_context
from copg_core.sources import DataSource, TaskData

_OF_NO_MATTER = {"limit", "validation_share"}  # to whether rows can be read: a thousand limits are one data set


class DataChecks:
    """What is wrong with data, for one request. Each data set is looked at once, however many configurations read it.

    `placed` gives an uploaded file its place on this machine.
    """

    def __init__(self, placed: Callable[[DataSource], DataSource] = lambda data: data) -> None:
        self._placed = placed
        self._found: dict[str, str | None] = {}

    @classmethod
    def of(cls, database: Database, settings: Settings) -> DataChecks:
        """Uploaded files are looked at once they have been analysed; those that are not, by the run itself. Whether an upload is known,
        there and readable is asked where the run is made (`data_sets.pinned`)."""
        return cls(lambda data: as_file_where_analysed(database, settings, data))

    def error(self, config: RunConfig) -> str | None:
        """A sentence with file, row and what was expected; None where the data can be used, as far as can be told here."""
        source = with_context(config.data, getattr(config, "reward", None))
        if isinstance(source, TaskData):
            return None
        named = source.model_dump_json(exclude=_OF_NO_MATTER)
        key = f"{named} {source.needed} {config.algorithm == 'sft'} {prompts_alone(config)}"
        if key not in self._found:
            try:
                datasets.check(self._placed(source), config.algorithm, prompts=prompts_alone(config))
                self._found[key] = None
            except DataError as error:
                self._found[key] = str(error)
        return self._found[key]
