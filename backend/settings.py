"""Every environment variable of the project, once. All begin with COPG_.

What is secret may come from a file instead, named by the variable with `_FILE` behind it: COPG_DATABASE_URL_FILE.
"""

from __future__ import annotations

import os
from dataclasses import Field, dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from backend import drivers
from backend.backoff import Backoff


def _default_data_dir() -> str:
    return str(Path.cwd() / "copg-data")


@dataclass(frozen=True)
class Settings:
    """What a process needs to know about its surroundings. `Settings.from_environment()` reads it."""

    data_dir: str = field(
        default_factory=_default_data_dir, metadata={"doc": "Folder of runs, caches and the default database."}
    )
    database_url: str = field(
        default="", metadata={"doc": "SQLAlchemy URL. Empty: SQLite in the data folder.", "secret": True}
    )
    database_password: str = field(
        default="", metadata={"doc": "Password for `database_url`, which then need not hold it.", "secret": True}
    )
    broker_url: str = field(
        default="", metadata={"doc": "Redis or Valkey URL. Empty: `copg up` starts its own broker.", "secret": True}
    )
    broker_password: str = field(
        default="", metadata={"doc": "Password for `broker_url`, which then need not hold it.", "secret": True}
    )
    queue: str = field(default="default", metadata={"doc": "Celery queue that this worker serves."})
    slots: int = field(
        default=1,
        metadata={
            "doc": "Runs that a worker without GPUs trains at the same time. With GPUs: one for each.",
            "least": 1,
            "most": 1024,
        },
    )
    cpu_slots: int = field(
        default=0,
        metadata={
            "doc": "Runs on the processor that a worker with GPUs trains beside those on its GPUs.",
            "least": 0,
            "most": 1024,
        },
    )
    worker_name: str = field(
        default="", metadata={"doc": "Name of this worker. Empty: host, process id and a random part."}
    )
    lease_seconds: float = field(
        default=60.0, metadata={"doc": "How long a worker may be silent before its run is taken away.", "least": 1}
    )
    republish_seconds: float = field(
        default=30.0, metadata={"doc": "How long a wake-up message may take before it is sent again.", "least": 1}
    )
    grace_seconds: float = field(
        default=120.0, metadata={"doc": "How long a stopping run may take to write its checkpoint.", "least": 0}
    )
    artifacts_url: str = field(
        default="",
        metadata={
            "doc": "fsspec URL under which checkpoints, outputs and uploaded data are kept. Empty: the data folder itself."
        },
    )
    artifacts_patience_seconds: float = field(
        default=900.0,
        metadata={
            "doc": "How long a run waits for a store that cannot be reached: at its end, and for what it needs.",
            "least": 0,
        },
    )
    artifacts_cache_gigabytes: float = field(
        default=100.0,
        metadata={"doc": "Size of a worker's cache of artifacts that it fetched from the store.", "least": 0},
    )
    orphan_hours: float = field(
        default=24.0, metadata={"doc": "Age from which a folder that no run refers to may be removed.", "least": 0}
    )
    retry_seconds: float = field(
        default=2.0, metadata={"doc": "Wait before the second attempt of a run; doubles with each attempt.", "least": 0}
    )
    retry_cap_seconds: float = field(default=600.0, metadata={"doc": "Longest wait between two attempts.", "least": 0})
    reserve_seconds: float = field(
        default=600.0,
        metadata={
            "doc": "How long a run with several GPUs stands first in vain before a worker is kept free for it.",
            "least": 0,
        },
    )
    partition_seconds: float = field(
        default=900.0,
        metadata={
            "doc": "How long a worker trains on without reaching the database before it gives up its GPUs.",
            "least": 1,
        },
    )
    tick_seconds: float = field(default=0.5, metadata={"doc": "Period of the reconcile loop.", "least": 0.01})
    upload_max_bytes: int = field(
        default=2 * 2**30,
        metadata={"doc": "Largest file that may be uploaded as a data set, in bytes.", "least": 1, "most": 2**50},
    )
    feed_seconds: float = field(
        default=0.2, metadata={"doc": "Period in which the API looks for changed runs.", "least": 0.01}
    )
    webhook_private: str = field(
        default="",
        metadata={
            "doc": "`1`: webhooks may lead to private addresses; `0`: not. Empty: while only this machine is let in."
        },
    )
    log_format: str = field(
        default="",
        metadata={
            "doc": "`json`: one object a line; `text`. Empty: text at a terminal, JSON elsewhere; run logs are text."
        },
    )
    metrics_port: int = field(
        default=0,
        metadata={
            "doc": "Port on which a worker serves its Prometheus metrics, on every address. 0: none.",
            "least": 0,
            "most": 65535,
        },
    )
    access: str = field(
        default="local",
        metadata={"doc": "`local`: people of this machine, by token once there is one; `token`: anybody with a token."},
    )
    admin_token: str = field(
        default="", metadata={"doc": "A token of scope admin that is not in the database.", "secret": True}
    )
    allowed_hosts: str = field(
        default="",
        metadata={"doc": "Names, comma-separated, under which the page is opened, beside this machine's own."},
    )
    trusted_proxies: str = field(
        default="", metadata={"doc": "Addresses or networks, comma-separated, whose X-Forwarded headers are believed."}
    )
    model_roots: str = field(
        default="", metadata={"doc": "Folders, colon-separated, below which requests with a token may name models."}
    )
    data_roots: str = field(
        default="", metadata={"doc": "Folders, colon-separated, below which requests with a token may name data."}
    )

    @classmethod
    def from_environment(cls) -> Settings:
        """Read `COPG_DATA_DIR` and the others. Raises ValueError naming a variable and what is wrong with it."""
        given: dict[str, object] = {}
        for item in fields(cls):
            variable = variable_of(item)
            raw = _from_file(item) or os.environ.get(variable)
            if raw is None or raw == "":
                continue
            kind = {"int": int, "float": float}.get(str(item.type), str)
            try:
                given[item.name] = kind(raw)
            except ValueError as error:
                raise ValueError(f"{variable} must be a number, not {raw!r}") from error
        settings = cls(**given)  # type: ignore[arg-type]
        settings.check()
        return settings

    def check(self) -> None:
        """Raise ValueError naming a variable that holds what nobody can mean. What is secret is not repeated."""
        for item in fields(self):
            least, most = item.metadata.get("least"), item.metadata.get("most", _MOST)
            if least is not None and not least <= (value := getattr(self, item.name)) <= most:  # nan is neither
                bound = f"at most {most:,}" if value > most else f"at least {least}"
                raise ValueError(f"{variable_of(item)} must be {bound}, not {value}")
        self._check_urls()
        if self.log_format not in ("", "json", "text"):
            raise ValueError(f"COPG_LOG_FORMAT must be json or text, not {self.log_format!r}")
        if self.webhook_private not in ("", "0", "1"):
            raise ValueError(f"COPG_WEBHOOK_PRIVATE must be 0 or 1, not {self.webhook_private!r}")
        if self.access not in ("local", "token"):
            raise ValueError(f"COPG_ACCESS must be local or token, not {self.access!r}")
        if self.admin_token and (len(self.admin_token) < _LEAST or not self.admin_token.isprintable()):
            raise ValueError(
                f"COPG_ADMIN_TOKEN must have at least {_LEAST} characters: `openssl rand -hex 32` makes a good one"
            )
        try:
            drivers.check(self.artifacts_url)
        except ValueError as error:
            raise ValueError(f"COPG_ARTIFACTS_URL: {error}") from error
        for network in listed(self.trusted_proxies):
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"COPG_TRUSTED_PROXIES: {error}") from error

    def _check_urls(self) -> None:
        if not _is_database(self.effective_database_url):
            raise ValueError(
                "COPG_DATABASE_URL must look like sqlite:////folder/copg.sqlite3 or postgresql+psycopg://user@host/database"
            )
        if self.broker_url and not _is_broker(self.effective_broker_url):
            raise ValueError(
                "COPG_BROKER_URL must look like redis://host:6379/0: redis, rediss, valkey, valkeys or unix"
            )

    def variables(self) -> dict[str, str]:
        """These settings as the environment of a worker: all but what only the web process may know."""
        kept = {variable_of(item): str(getattr(self, item.name)) for item in fields(self)}
        del kept["COPG_ADMIN_TOKEN"]
        return kept

    @property
    def backoff(self) -> Backoff:
        return Backoff(self.retry_seconds, self.retry_cap_seconds)

    @property
    def data_path(self) -> Path:
        return Path(self.data_dir).expanduser().resolve()

    @property
    def effective_database_url(self) -> str:
        if not self.database_url:
            return f"sqlite:///{self.data_path / 'copg.sqlite3'}"
        return _with_password(self.database_url, self.database_password)

    @property
    def effective_broker_url(self) -> str:
        return _with_password(self.broker_url, self.broker_password)

    @property
    def runs_path(self) -> Path:
        return self.data_path / "runs"

    @property
    def cache_path(self) -> Path:
        return self.data_path / "cache"

    @property
    def datasets_path(self) -> Path:
        return self.data_path / "datasets"


_MOST = 1_000_000_000  # of numbers without a limit of their own: threads cannot sleep for ever
_BROKERS = {"redis", "rediss", "valkey", "valkeys", "unix", "redis+socket"}
_LEAST = 32  # characters of an admin token: 128 bits in hexadecimal digits


def _is_database(url: str) -> bool:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    return parsed.drivername == "postgresql+psycopg" or (
        parsed.get_backend_name() == "sqlite" and bool(parsed.database)
    )


def _is_broker(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in _BROKERS and parts.port != 0 and bool(parts.netloc or parts.path)
    except ValueError:  # of a port that is none
        return False


def listed(text: str, separator: str = ",") -> list[str]:
    """The parts of a list in a setting."""
    return [part.strip() for part in text.split(separator) if part.strip()]


def variable_of(item: Field[Any]) -> str:
    """The environment variable of a setting."""
    return f"COPG_{item.name.upper()}"


def _from_file(item: Field[Any]) -> str | None:
    """What stands in the file that COPG_..._FILE names. Raises ValueError where it cannot be read."""
    variable = f"{variable_of(item)}_FILE"
    path = os.environ.get(variable)
    if not path or not item.metadata.get("secret"):
        return None
    if os.environ.get(variable_of(item)):
        raise ValueError(f"give either {variable_of(item)} or {variable}, not both")
    try:
        content = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{variable}: {path} cannot be read ({error})") from error
    if not content:
        raise ValueError(f"{variable}: {path} is empty")
    return content


def _with_password(url: str, password: str) -> str:
    """The URL with the password in it, whatever characters that has; a URL that has one keeps its own."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not password or not host or ":" in user:
        return url
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))
