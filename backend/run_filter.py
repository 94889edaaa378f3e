"""Which runs a list holds and in which order: conditions, orders and searches as SQL.

A field is a column of a run (`state`, `last_reward`, `created_at`, ...), `tags`, or any value of the configuration
(`config.optimizer.learning_rate`). The grammar of a condition is in conditions.py, where the values stand in run_fields.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, false, not_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from backend import run_fields
from backend.conditions import Condition, ConditionError, moment, number, parse
from backend.config_paths import BOOLEAN, NUMBER, TEXT, config_paths
from backend.errors import Invalid
from backend.models import Pipeline, Run
from backend.models_search import Field, RunField, RunText
from backend.models_sweeps import Sweep, SweepMember
from backend.routes.paging import rows_after
from backend.states import RunState

TIME = "time"
COLUMNS: dict[str, tuple[InstrumentedAttribute[Any], str]] = {
    "id": (Run.uid, TEXT),
    "name": (Run.name, TEXT),
    "notes": (Run.notes, TEXT),
    "algorithm": (Run.algorithm, TEXT),
    "state": (Run.state, TEXT),
    "stage": (Run.stage, TEXT),
    "error_kind": (Run.error_kind, TEXT),
    "queue": (Run.queue, TEXT),
    "beta": (Run.beta, NUMBER),
    "priority": (Run.priority, NUMBER),
    "attempt": (Run.attempt, NUMBER),
    "step": (Run.step, NUMBER),
    "total_steps": (Run.total_steps, NUMBER),
    "last_reward": (Run.last_reward, NUMBER),
    "created_at": (Run.created_at, TIME),
    "started_at": (Run.started_at, TIME),
    "finished_at": (Run.finished_at, TIME),
}
GROUPS = ("pipeline", "sweep")
_ORDERED = {NUMBER, TIME}
_CURSOR_TYPES = {NUMBER: (int, float), TIME: (int, float), TEXT: (str,)}


@dataclass(frozen=True)
class Order:
    """An order of runs: `expression` is NULL where a run has no such value, and `join` brings it in where it is no column."""

    name: str
    expression: ColumnElement[Any]
    kind: str
    descending: bool
    join: tuple[Any, ColumnElement[bool]] | None = None

    def apply(self, chosen: Select[Any]) -> Select[Any]:
        """`chosen` in this order; runs without a value stand at the end in either direction."""
        if self.join is not None:
            chosen = chosen.outerjoin(*self.join)
        if getattr(self.expression, "nullable", True):  # without this term an index gives the order of other columns
            chosen = chosen.order_by(self.expression.is_(None))
        return chosen.order_by(
            self.expression.desc() if self.descending else self.expression.asc(),
            Run.id.desc() if self.descending else Run.id.asc(),
        )

    def after(self, value: Any, last: Any) -> ColumnElement[bool]:
        """The runs after the one with this value and this `Run.id`. Raises Invalid where a cursor cannot hold them."""
        fitting = value is None or (isinstance(value, _CURSOR_TYPES[self.kind]) and not isinstance(value, bool))
        if not fitting or not isinstance(last, int):
            raise Invalid.field("cursor", "this is not a cursor that a list has given out")
        return rows_after(self.expression, Run.id, value, last, descending=self.descending)


def matching(session: Session, where: Sequence[str], *, place: str = "where") -> list[ColumnElement[bool]]:
    """The conditions as SQL over `run`; a run has to fulfil all. Raises Invalid at `where.N`."""
    found = []
    for index, written in enumerate(where):
        try:
            found.append(_condition(session, parse(written)))
        except ConditionError as error:
            raise Invalid.field(f"{place}.{index}", str(error)) from error
    return found


def mentioning(words: str) -> list[ColumnElement[bool]]:
    """Runs whose id, name, tags, notes or configuration contain every one of these words, whatever the case."""
    return [
        Run.id.in_(select(RunText.run_id).where(RunText.text.contains(run_fields.folded(word), autoescape=True)))
        for word in words.split()
    ]


def ordered(session: Session, sort: str, order: str | None = None) -> Order:
    """An order by name: `last_reward`, or `-last_reward` for the largest first. Raises Invalid at `sort`."""
    name = sort.removeprefix("-")
    descending = order == "desc" if order else sort.startswith("-")
    if name in COLUMNS:
        column, kind = COLUMNS[name]
        return Order(name, column.expression, kind, descending)
    try:
        kinds = _kinds(session, name)
    except ConditionError as error:
        raise Invalid.field("sort", str(error)) from error
    if kinds is None or name == run_fields.TAGS:
        raise Invalid.field("sort", f"runs have no order by {name}, which is not a single value")
    value = (
        select(RunField.run_id, RunField.number, RunField.text)
        .where(RunField.field_id == _field_id(session, name), RunField.item == 0)
        .subquery("sorted")
    )
    numbers = NUMBER in kinds or not kinds
    expression: ColumnElement[Any] = value.c.number if numbers else value.c.text
    return Order(name, expression, NUMBER if numbers else TEXT, descending, (value, value.c.run_id == Run.id))


def known_fields(session: Session) -> dict[str, str]:
    """Every field that runs can be filtered by, with its kind; paths of the configuration as the forms and the runs have them."""
    fields = {name: kind for name, (_, kind) in COLUMNS.items()} | dict.fromkeys([*GROUPS, run_fields.TAGS], TEXT)
    fields |= {path: "|".join(sorted(kinds)) for path, kinds in config_paths().kinds.items()}
    for path in session.scalars(select(Field.path)):
        fields.setdefault(path, TEXT if _is_open(path) else fields.get(_template(path), "any"))
    return dict(sorted(fields.items()))


def _condition(session: Session, condition: Condition) -> ColumnElement[bool]:
    name = condition.field
    if name in COLUMNS:
        return _on_column(condition, *COLUMNS[name])
    if name in GROUPS:
        return _in_group(condition)
    kinds = _kinds(session, name)
    if kinds is None:  # a section of the configuration
        if condition.operator not in {"=", "!="} or set(condition.values) != {None}:
            raise ConditionError(f"{name} is a section of the configuration{_suggest(session, name, section=True)}")
        below = select(Field.id).where(Field.path.startswith(f"{name}.", autoescape=True))
        some = Run.id.in_(select(RunField.run_id).where(RunField.field_id.in_(below)))
        return not_(some) if condition.operator == "=" else some
    return _on_field(session, condition, kinds)


def _on_column(condition: Condition, column: InstrumentedAttribute[Any], kind: str) -> ColumnElement[bool]:
    values = [value for value in condition.values if value is not None]
    typed = [_typed(condition, value, {kind}) for value in values]
    if condition.field == "state":
        for value in values:
            _one_of(value, [state.value for state in RunState], "state")
    match condition.operator:
        case "=" | "!=":
            return _member(condition, column.in_(typed), column.is_(None))
        case "~":
            return column.icontains(typed[0], autoescape=True)
        case _:
            return _compare(column, condition.operator, typed[0])


def part_of(group: str, uids: Sequence[str]) -> ColumnElement[bool]:
    """Runs that belong to one of these pipelines or sweeps, by public id."""
    uids = [uid.replace("\0", "") for uid in uids]
    if group == "pipeline":
        return Run.pipeline_id.in_(select(Pipeline.id).where(Pipeline.uid.in_(uids)))
    members = select(SweepMember.run_id).join(Sweep, Sweep.id == SweepMember.sweep_id)
    return Run.id.in_(members.where(Sweep.uid.in_(uids)))


def _in_group(condition: Condition) -> ColumnElement[bool]:
    if condition.operator not in {"=", "!="}:
        raise ConditionError(f"{condition.field} can be compared with = and != only")
    single = condition.field == "pipeline"
    outside = Run.pipeline_id.is_(None) if single else Run.id.not_in(select(SweepMember.run_id))
    inside = part_of(condition.field, [value for value in condition.values if value is not None])
    return _member(condition, inside, outside)


def _member(condition: Condition, inside: ColumnElement[bool], missing: ColumnElement[bool]) -> ColumnElement[bool]:
    """`=` or `!=`, where a comparison with a missing value is NULL and neither true nor false."""
    wanted = None in condition.values
    if condition.operator == "=":
        return or_(inside, missing) if wanted else inside
    return and_(not_(inside), not_(missing)) if wanted else or_(not_(inside), missing)


def _on_field(session: Session, condition: Condition, kinds: frozenset[str]) -> ColumnElement[bool]:
    rows = select(RunField.run_id).where(RunField.field_id == _field_id(session, condition.field))
    values = [value for value in condition.values if value is not None]
    typed = [_typed(condition, value, kinds) for value in values]
    if condition.operator in {"=", "!="}:
        texts = [run_fields.shortened(value) for value in values]
        numbers = [number(value) for value in values]
        same = or_(RunField.text.in_(texts), RunField.number.in_([one for one in numbers if one is not None]))
        found: ColumnElement[bool] = Run.id.in_(rows.where(same)) if values else false()
        if None in condition.values:
            found = or_(found, Run.id.not_in(rows))
        return found if condition.operator == "=" else not_(found)
    if condition.operator == "~":
        return Run.id.in_(rows.where(RunField.text.icontains(run_fields.shortened(values[0]), autoescape=True)))
    return Run.id.in_(rows.where(_compare(RunField.number, condition.operator, typed[0])))


def _typed(condition: Condition, value: str, kinds: set[str] | frozenset[str]) -> Any:
    """A value as the field's kind has it. Raises ConditionError where the operator or the value does not suit it."""
    name, operator = condition.field, condition.operator
    if operator == "~":
        if kinds and TEXT not in kinds:
            raise ConditionError(f"{name} is a {' or '.join(sorted(kinds))}: ~ looks into texts only")
        return value.replace("\0", "")
    if operator not in {"=", "!="} and kinds and not kinds & _ORDERED:
        raise ConditionError(f"{name} is a {' or '.join(sorted(kinds))}: use = != or ~")
    if TIME in kinds:
        if (found := moment(value)) is None:
            raise ConditionError(f"{name} is a time: {value!r} is none; write 2026-11-25 or 2026-11-25T08:30:00Z")
        return found
    amount = number(value)
    if amount is None and (kinds == {NUMBER} or operator not in {"=", "!="}):
        raise ConditionError(f"{name} is a number: {value!r} is none")
    if kinds == {BOOLEAN}:
        return _one_of(value, ["true", "false"], name)
    if amount is not None and (NUMBER in kinds or operator not in {"=", "!="}):
        return amount
    return value.replace("\0", "")


def _one_of(value: str, allowed: list[str], name: str) -> str:
    if value not in allowed:
        raise ConditionError(f"{name} is one of {', '.join(allowed)}, and never {value!r}")
    return value


def _compare(column: Any, operator: str, value: float) -> ColumnElement[bool]:
    compared: dict[str, ColumnElement[bool]] = {
        "<": column < value, "<=": column <= value, ">": column > value, ">=": column >= value,
    }  # fmt: skip
    return compared[operator]


def _field_id(session: Session, path: str) -> int:
    """The number of a path, 0 where no run has it. Looked up first: with a subquery PostgreSQL guesses too few rows."""
    return session.scalar(select(Field.id).where(Field.path == path.replace("\0", ""))) or 0


def _template(path: str) -> str:
    """A path with every number in it as 0, as config_paths has it."""
    return re.sub(r"\.\d+(?=\.|$)", ".0", path)


def _is_open(path: str) -> bool:
    return any(_template(path).startswith(f"{prefix}.") for prefix in config_paths().open)


def _kinds(session: Session, name: str) -> frozenset[str] | None:
    """What stands in a field of the configuration or in `tags`: kinds, empty where anything may; None for a section.
    Raises ConditionError with near matches where there is no such field."""
    paths, template = config_paths(), _template(name)
    if name == run_fields.TAGS:
        return frozenset({TEXT})
    if template in paths.kinds:
        return paths.kinds[template]
    if template in paths.sections or template in paths.open:
        return None
    if _is_open(name) or session.scalar(select(Field.id).where(Field.path == name.replace("\0", ""))) is not None:
        return frozenset()
    raise ConditionError(f"runs have no field {name!r}{_suggest(session, name)}")


def _suggest(session: Session, name: str, *, section: bool = False) -> str:
    known = list(known_fields(session))
    if section:
        near = [path for path in known if path.startswith(f"{name}.")][:3]
    else:
        last = name.rsplit(".", 1)[-1]
        near = [path for path in known if path.rsplit(".", 1)[-1] == last][:3]
        near += [path for path in difflib.get_close_matches(name, known, n=3, cutoff=0.6) if path not in near]
    return f"; did you mean {' or '.join(near[:3])}?" if near else "; GET /api/v1/runs/fields lists them"
