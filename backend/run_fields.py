"""What a run can be found by, kept beside it: each single value of its configuration, its tags, and the text that a
search looks through. Written with the run and with each change of its name, notes or tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, delete, insert, select
from sqlalchemy.orm import Session

from backend.metrics import upsert
from backend.models import Run
from backend.models_search import Field, RunField, RunText

LONGEST = 500  # characters of a text that are compared
MOST_ROWS = 1000  # values of one configuration; a longer list of words is found by its first ones
_LONGEST_PATH = 200
_AT_ONCE = 200  # runs
# As tables: thousands of rows need no bookkeeping of objects.
_FIELDS, _TEXTS = cast(Table, RunField.__table__), cast(Table, RunText.__table__)
_LARGEST = 1e308
TAGS = "tags"


class Leaf(NamedTuple):
    """A single value: either a number or a text."""

    path: str
    item: int
    number: float | None
    text: str | None


def leaves(value: Any, path: str, item: int = 0) -> Iterator[Leaf]:
    """Each single value below `path`; nothing for null.

    >>> [(leaf.path, leaf.number, leaf.text) for leaf in leaves({"a": 1, "b": {"c": True, "d": ["x", "y"]}, "e": None}, "config")]
    [('config.a', 1.0, None), ('config.b.c', None, 'true'), ('config.b.d', None, 'x'), ('config.b.d', None, 'y')]
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            nested = isinstance(inner, dict | list)
            yield from leaves(inner, f"{path}.{index}" if nested else path, 0 if nested else index)
    elif isinstance(value, bool):
        yield Leaf(path, item, None, str(value).lower())
    elif isinstance(value, int | float) and abs(value) < _LARGEST:
        yield Leaf(path, item, float(value), None)
    elif value is not None:
        yield Leaf(path, item, None, shortened(str(value)))


def shortened(text: str) -> str:
    """A text as it stands in `run_field`: cut off, and without the character that PostgreSQL cannot store."""
    return text.replace("\0", "")[:LONGEST]


def folded(text: str) -> str:
    """A text as it stands in `run_text`."""
    return text.replace("\0", "").casefold()


def write(session: Session, runs: Sequence[Run]) -> None:
    """Everything about runs that were just inserted: for all of a sweep at once it takes a fraction of the time of one by one."""
    for begin in range(0, len(runs), _AT_ONCE):
        some = runs[begin : begin + _AT_ONCE]
        _insert(session, {run.id: [*_config(run), *leaves(run.tags, TAGS)] for run in some})
        session.execute(insert(_TEXTS), [{"run_id": run.id, "text": _text(run)} for run in some])


def rewrite(session: Session, run: Run) -> None:
    """The same after its name, notes or tags were changed. A configuration never changes."""
    tags = select(Field.id).where(Field.path == TAGS).scalar_subquery()
    session.execute(
        delete(RunField)
        .where(RunField.run_id == run.id, RunField.field_id == tags)
        .execution_options(synchronize_session=False)
    )
    _insert(session, {run.id: list(leaves(run.tags, TAGS))})
    upsert(session, RunText.__table__, [{"run_id": run.id, "text": _text(run)}], ("run_id",))


def _config(run: Run) -> list[Leaf]:
    found = (leaf for leaf in leaves(run.config, "config") if len(leaf.path) <= _LONGEST_PATH and "\0" not in leaf.path)
    # By address: a column that somebody named `a.b` must not meet `b` of a section `a`.
    return list({(leaf.path, leaf.item): leaf for leaf in islice(found, MOST_ROWS)}.values())


def _text(run: Run) -> str:
    texts = [leaf.text for leaf in _config(run) if leaf.text is not None]
    return folded("\n".join([run.uid, run.name, *run.tags, run.notes, *texts]))


def _insert(session: Session, found: Mapping[int, Sequence[Leaf]]) -> None:
    ids = _field_ids(session, {leaf.path for some in found.values() for leaf in some})
    rows = [
        {"field_id": ids[leaf.path], "run_id": run_id, "item": leaf.item, "number": leaf.number, "text": leaf.text}
        for run_id, some in found.items()
        for leaf in some
    ]
    if rows:
        session.execute(insert(_FIELDS), rows)


def _field_ids(session: Session, wanted: set[str]) -> dict[str, int]:
    if not wanted:
        return {}
    query = select(Field.path, Field.id).where(Field.path.in_(wanted))
    ids = {row.path: row.id for row in session.execute(query)}
    if missing := sorted(wanted - ids.keys()):
        # Sorted, so that two writers of the same new paths wait for each other instead of deadlocking.
        upsert(session, Field.__table__, [{"path": path} for path in missing], ("path",))
        ids = {row.path: row.id for row in session.execute(query)}
    return ids
