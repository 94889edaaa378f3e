"""A small seeded round of the torture on each database. The full one: `make torture`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.torture.round import torture, train_undisturbed
from tests.torture.servers import Postgres, postgres_programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train_undisturbed(tmp_path_factory.mktemp("torture") / "undisturbed")


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="copg-"))  # short, because the broker's socket stands in it
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_every_run_ends_once_and_as_if_nothing_had_happened(
    name: str, folder: Path, undisturbed: dict[str, Any]
) -> None:
    postgres = None
    if name == "postgresql":
        programs = postgres_programs()
        if programs is None:
            missing("PostgreSQL", "initdb and postgres are not on this machine")
        postgres = Postgres(programs)
    try:
        result = torture(
            folder, postgres, undisturbed, seed=4, runs=12, pace=0.5, pause=(0.2, 1.5), slots=2, limit=800, faults=12
        )
    finally:
        if postgres is not None:
            postgres.close()
    assert not result.problems, "\n".join(result.problems)
    assert sum(result.faults.values()) >= 5
