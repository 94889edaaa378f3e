"""Every environment variable of the project, once. All begin with COPG_."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path


def _default_data_dir() -> str:
    return str(Path.cwd() / "copg-data")


@dataclass(frozen=True)
class Settings:
    """What a process needs to know about its surroundings. `Settings.from_environment()` reads it."""

    data_dir: str = field(
        default_factory=_default_data_dir, metadata={"doc": "Folder of runs, caches and the default database."}
    )
    database_url: str = field(default="", metadata={"doc": "SQLAlchemy URL. Empty: SQLite in the data folder."})
    broker_url: str = field(
        default="", metadata={"doc": "Redis or Valkey URL. Empty: `copg up` starts its own broker."}
    )
    queue: str = field(default="default", metadata={"doc": "Celery queue that this worker serves."})
    slots: int = field(default=1, metadata={"doc": "Runs that this worker trains at the same time."})
    worker_name: str = field(
        default="", metadata={"doc": "Name of this worker. Empty: host, process id and a random part."}
    )
    lease_seconds: float = field(
        default=60.0, metadata={"doc": "How long a worker may be silent before its run is taken away."}
    )
    republish_seconds: float = field(
        default=30.0, metadata={"doc": "How long a wake-up message may take before it is sent again."}
    )
    grace_seconds: float = field(
        default=120.0, metadata={"doc": "How long a stopping run may take to write its checkpoint."}
    )
    tick_seconds: float = field(default=0.5, metadata={"doc": "Period of the reconcile loop."})
    feed_seconds: float = field(default=0.2, metadata={"doc": "Period in which the API looks for changed runs."})

    @classmethod
    def from_environment(cls) -> Settings:
        """Read `COPG_DATA_DIR` and the others. Raises ValueError naming a variable that is not a number."""
        given: dict[str, object] = {}
        for item in fields(cls):
            variable = f"COPG_{item.name.upper()}"
            raw = os.environ.get(variable)
            if raw is None or raw == "":
                continue
            kind = {"int": int, "float": float}.get(str(item.type), str)
            try:
                given[item.name] = kind(raw)
            except ValueError as error:
                raise ValueError(f"{variable} must be a number, not {raw!r}") from error
        return cls(**given)  # type: ignore[arg-type]

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser().resolve()

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_path / 'copg.sqlite3'}"

    @property
    def runs_path(self) -> Path:
        return self.data_path / "runs"

    @property
    def cache_path(self) -> Path:
        return self.data_path / "cache"
