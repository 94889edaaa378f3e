"""What a snapshot sees."""

from __future__ import annotations

from sqlalchemy import select

from backend.models import Run
from tests.backend.studio_bench import Bench


def test_a_snapshot_is_of_one_moment(bench: Bench) -> None:
    """Curves are read one after the other and share a cursor: what is committed between them must be in none of them."""
    first = bench.launch()
    with bench.database.snapshot() as session:
        assert list(session.scalars(select(Run.uid))) == [first]
        second = bench.launch()
        assert list(session.scalars(select(Run.uid))) == [first]
    with bench.database.snapshot() as session:
        assert set(session.scalars(select(Run.uid))) == {first, second}
    with bench.database.transaction() as session:  # whoever writes is not refused because somebody else was quicker
        assert len(session.scalars(select(Run.uid)).all()) == 2
        third = bench.launch() if bench.database.engine.dialect.name == "postgresql" else None
        assert len(session.scalars(select(Run.uid)).all()) == (3 if third else 2)
