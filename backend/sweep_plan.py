"""From what a sweep asks for to its runs: every combination, checked before anything is stored, equal ones once.

A wrong value is named where it was typed: `grid.beta.1` is the second value of beta, `list.3` the fourth entry, and the
message begins with the field of the run's configuration that does not take it.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError
from sqlalchemy.orm import Session

from backend import data_sets, lineage
from backend.data_checks import DataChecks
from backend.errors import Invalid, invalid_fields
from backend.field_words import field_errors
from backend.pipelines import aliases
from backend.run_errors import ParentError, RewardRefused, field_of
from backend.runs import check_reward
from backend.schemas.problems import FieldError
from backend.schemas.sweeps import MOST_MEMBERS, SweepBase, SweepSpec
from backend.sweep_values import parse_values
from copg_core.config import RUN_CONFIG, RunConfig, parents

PARENTS = ("sft", "reward_model")
_MOST_ERRORS = 50


@dataclass(frozen=True)
class Combination:
    """One choice of values, with where each was typed: `origins[path]` is a field of the request."""

    base: int
    overrides: Mapping[str, Any]
    origins: Mapping[str, str]


@dataclass(frozen=True)
class PlannedRun:
    """A run that would be made. `raw` has `$sft` and `$reward_model` where the runs that the sweep makes will stand."""

    base: int
    overrides: dict[str, Any]
    raw: dict[str, Any]
    config: RunConfig
    hash: str
    parent: str | None = None


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep. `duplicates` were left out because an equal run comes before them."""

    parents: list[PlannedRun]
    members: list[PlannedRun]
    duplicates: int

    @property
    def runs(self) -> list[PlannedRun]:
        return [*self.parents, *self.members]


def plan(spec: SweepSpec, data: DataChecks | None = None) -> Plan:
    """Every run that a sweep stands for. Reads data files, stores nothing; what is in the database is looked up by `check_references`.

    `data` are the checks of the request, which may plan more than once. Raises Invalid, naming each wrong value.
    """
    _check_storable(spec)
    spec = with_listed_values(spec)
    checks = _Checks(data or DataChecks())
    made = _parents(spec, checks)
    members: list[PlannedRun] = []
    seen: set[str] = set()
    duplicates = 0
    starts = [start_of(spec, base) for base in spec.bases or [SweepBase()]]
    for combination in combinations(spec):
        found = checks.member(combination, starts[combination.base], spec)
        if found is None:
            continue
        duplicates += found.hash in seen
        if found.hash not in seen:
            members.append(found)
        seen.add(found.hash)
    if checks.wrong:
        raise invalid_fields(checks.wrong[:_MOST_ERRORS])
    return Plan(made, members, duplicates)


def with_listed_values(spec: SweepSpec) -> SweepSpec:
    """The same with ranges and lists that were given as text written out. Raises Invalid."""
    wrong: list[FieldError] = []

    def listed(grid: Mapping[str, list[Any] | str], place: str) -> dict[str, list[Any] | str]:
        found: dict[str, list[Any] | str] = {}
        for path, values in grid.items():
            try:
                found[path] = parse_values(values) if isinstance(values, str) else values
                if not values:
                    raise ValueError("no value is given")
            except ValueError as error:
                wrong.append(FieldError(field=f"{place}.{path}", message=str(error)))
        return found

    bases = [
        base.model_copy(update={"grid": listed(base.grid, f"bases.{number}.grid")})
        for number, base in enumerate(spec.bases)
    ]
    changed = spec.model_copy(update={"grid": listed(spec.grid, "grid"), "bases": bases})
    if wrong:
        raise invalid_fields(wrong)
    return changed


def combinations(spec: SweepSpec) -> Iterator[Combination]:
    """The full product of each base's grid, then its list; without either, the base itself. Raises Invalid over the cap."""
    total = 0
    parts: list[tuple[int, dict[str, list[Any]], dict[str, str], list[tuple[str, dict[str, Any]]]]] = []
    for number, base in enumerate(spec.bases or [SweepBase()]):
        shared = {path: values for path, values in spec.grid.items() if path not in base.grid}
        grid = cast(dict[str, list[Any]], {**base.grid, **shared})
        origins = {path: f"bases.{number}.grid.{path}" if path in base.grid else f"grid.{path}" for path in grid}
        entries = [(f"list.{at}", entry) for at, entry in enumerate(spec.entries)]
        entries += [(f"bases.{number}.list.{at}", entry) for at, entry in enumerate(base.entries)]
        total += len(entries) + (math.prod(map(len, grid.values())) if grid or not entries else 0)
        parts.append((number, grid, origins, entries))
    if total > MOST_MEMBERS:
        raise Invalid.field(
            "grid", f"these are {total:,} runs: a sweep has at most {MOST_MEMBERS:,}. Give fewer values"
        )
    for number, grid, origins, entries in parts:
        if grid or not entries:
            for places in itertools.product(*(range(len(values)) for values in grid.values())):
                at = dict(zip(grid, places, strict=True))
                yield Combination(
                    number, {path: grid[path][at[path]] for path in grid}, {p: f"{origins[p]}.{at[p]}" for p in grid}
                )
        for origin, entry in entries:
            yield Combination(number, entry, dict.fromkeys(entry, origin))


def put(config: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at a dotted path, making the sections on its way. Raises ValueError where the path leads nowhere."""
    *sections, last = path.split(".")
    place: Any = config
    walked: list[str] = []
    for section in sections:
        walked.append(section)
        if isinstance(place, list):
            place = place[_index(place, section, path)]
        else:
            if place.get(section) is None:
                place[section] = {}
            place = place[section]
        if not isinstance(place, dict | list):
            raise ValueError(f"{'.'.join(walked)!r} is no section, so it has no field {path!r}")
    if isinstance(place, list):
        place[_index(place, last, path)] = copy.deepcopy(value)
    else:
        place[last] = copy.deepcopy(value)


def _index(items: list[Any], text: str, path: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6 or int(text) >= len(items):
        raise ValueError(f"{path!r}: the list there has {len(items)} items, counted from 0; {text!r} is none of them")
    return int(text)


def fingerprint(config: RunConfig, parent: str | None = None) -> str:
    """Equal for runs that would do the same."""
    canonical = json.dumps([parent, config.model_dump(mode="json")], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def check_references(session: Session, runs: Iterable[PlannedRun]) -> None:
    """Look the runs and uploaded data sets up that configurations name, each once. Raises Invalid naming the field."""
    wrong: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for run in runs:
        named = {role: uid for role, uid in parents(run.config).items() if not uid.startswith("$") and "/" not in uid}
        for place, uid in (*named.items(), *data_sets.named(run.config.data).items()):
            if (place, uid) in seen:
                continue
            seen.add((place, uid))
            try:
                if place in named:
                    lineage.find_parent(session, place, uid)
                else:
                    data_sets.usable(session, place, uid)
            except ParentError as error:
                wrong.append(FieldError(field=f"{run.parent or 'config'}.{error.field}", message=str(error)))
    if wrong:
        raise invalid_fields(wrong[:_MOST_ERRORS])


def _check_storable(spec: SweepSpec) -> None:
    try:
        json.dumps(spec.model_dump(by_alias=True), allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise Invalid("the sweep holds a number that is infinite or none, or text that is not Unicode") from error


def start_of(spec: SweepSpec, base: SweepBase) -> dict[str, Any]:
    """The configuration that a base's combinations change: the sweep's, its own over it, and the runs that are shared."""
    raw = _over(spec.config, base.config)
    if spec.sft is not None and "policy" not in raw:
        raw["policy"] = {"kind": "run", "run": "$sft"}
    if spec.reward_model is not None and "reward" not in raw and raw.get("algorithm") not in PARENTS:
        raw["reward"] = {"kind": "run", "run": "$reward_model"}
    return raw


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` laid over `lower`; sections of one kind are merged, others replaced."""
    merged = copy.deepcopy(dict(lower))
    for key, value in upper.items():
        below = merged.get(key)
        if (
            isinstance(below, dict)
            and isinstance(value, dict)
            and value.get("kind", below.get("kind")) == below.get("kind")
        ):
            merged[key] = _over(below, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _parents(spec: SweepSpec, checks: _Checks) -> list[PlannedRun]:
    found: list[PlannedRun] = []
    for role, given in (("sft", spec.sft), ("reward_model", spec.reward_model)):
        if given is None:
            continue
        raw = {"algorithm": role, **copy.deepcopy(given)}
        if role == "reward_model" and spec.sft is not None and "policy" not in raw:
            raw["policy"] = {"kind": "run", "run": "$sft"}
        made = {"sft"} if role == "reward_model" and spec.sft is not None else set()
        config = checks.config(raw, role, made)
        if config is not None and config.algorithm != role:
            checks.add(f"{role}.algorithm", f"this must train {role}, not {config.algorithm}")
        elif config is not None:
            found.append(PlannedRun(0, {}, raw, config, fingerprint(config, role), role))
    return found


class _Checks:
    """Collects what is wrong, each thing once."""

    def __init__(self, data: DataChecks) -> None:
        self._data = data
        self.wrong: list[FieldError] = []
        self._told: set[tuple[str, str]] = set()
        self._whole: dict[int, dict[str, Any]] = {}

    def add(self, field: str, message: str) -> None:
        if (field, message) not in self._told:
            self._told.add((field, message))
            self.wrong.append(FieldError(field=field, message=message))

    def config(self, raw: dict[str, Any], root: str, made: set[str]) -> RunConfig | None:
        """The configuration of a parent, or None with what is wrong under `root`."""
        errors, config = self._errors(raw, made)
        for error in errors:
            self.add(f"{root}.{error.field}" if error.field else root, error.message)
        return None if errors else config

    def member(self, combination: Combination, start: dict[str, Any], spec: SweepSpec) -> PlannedRun | None:
        """The run of a combination, or None with what is wrong where it was typed."""
        raw = copy.deepcopy(start)
        # Kinds first: another kind of model, data or reward takes none of the old one's fields along.
        for path, value in sorted(combination.overrides.items(), key=lambda item: not item[0].endswith(".kind")):
            section, _, inner = path.partition(".")
            if inner and section not in raw and section in (defaults := self._defaults(combination.base, start)):
                raw[section] = copy.deepcopy(defaults[section])
            if inner == "kind" and isinstance(raw.get(section), dict) and raw[section].get("kind") != value:
                raw[section] = {}
            try:
                put(raw, path, value)
            except ValueError as error:
                self.add(combination.origins[path], f"config.{path}: {error}")
                return None
        made = {role for role in PARENTS if getattr(spec, role) is not None}
        errors, config = self._errors(raw, made)
        for item in errors:
            origin = next((combination.origins[path] for path in combination.origins if _touch(path, item.field)), None)
            place = "config" if not spec.bases else f"bases.{combination.base}.config"
            if origin is None:
                self.add(".".join(filter(None, (place, item.field))), item.message)
            else:
                self.add(origin, f"{'.'.join(filter(None, ('config', item.field)))}: {item.message}")
        if errors or config is None:
            return None
        return PlannedRun(combination.base, dict(combination.overrides), raw, config, fingerprint(config))

    def _defaults(self, base: int, start: dict[str, Any]) -> dict[str, Any]:
        """The base's whole configuration, so that one field of a section can be changed without naming its kind."""
        if base not in self._whole:
            try:
                self._whole[base] = RUN_CONFIG.validate_python(start).model_dump(mode="json")
            except ValidationError:
                self._whole[base] = {}
        return self._whole[base]

    def _errors(self, raw: dict[str, Any], made: set[str]) -> tuple[Sequence[FieldError], RunConfig | None]:
        try:
            config = RUN_CONFIG.validate_python(raw)
        except ValidationError as error:
            found = field_errors(error.errors(include_url=False), root="config")
            return [
                item.model_copy(update={"field": item.field.removeprefix("config").lstrip(".")}) for item in found
            ], None
        errors = []
        for role, alias in aliases(raw).items():
            if alias not in made:
                errors.append(FieldError(field=field_of(role), message=_unmade(alias, made)))
            elif (alias == "reward_model") != role.startswith("reward"):
                errors.append(
                    FieldError(field=field_of(role), message=f"${alias} cannot be the {role.partition('.')[0]}")
                )
        try:
            check_reward(config)
        except RewardRefused as error:
            errors.append(FieldError(field=error.field, message=str(error)))
        if (message := self._data.error(config)) is not None:
            errors.append(FieldError(field="data", message=message))
        return errors, config


def _touch(path: str, field: str) -> bool:
    """Whether an error at `field` can come from the value at `path`: one is the other, or a part of it."""
    return f"{field}.".startswith(f"{path}.") or (f"{path}.".startswith(f"{field}.") and field != "")


def _unmade(alias: str, made: set[str]) -> str:
    known = ", ".join(f"${name}" for name in sorted(made)) or "none"
    return f"this sweep makes no {alias!r} (it makes: {known}); give its configuration as `{alias}`"
