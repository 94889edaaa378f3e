"""A finished run as a folder that `transformers` loads: the model, its card, its curve, and the TOML that makes it again.

The folder is streamed as an archive while it is read from the store. Nothing is loaded and nothing is written here: a policy's
files go as they are, a reward model gets new names for its weights (classifier.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy.orm import Session

from backend import archives, artifacts, classifier, lineage, model_card, store, toml_text
from backend.archives import Entry
from backend.curve_svg import curve
from backend.figures import data as figure_data
from backend.figures.catalogue import FIGURES, as_json
from backend.figures.style import COLOURS, NEUTRAL
from backend.model_card import Facts
from backend.models import Run
from backend.schemas.figures import FigureName
from backend.states import RunState
from copg_core.config import RUN_CONFIG, parents

Weights = Literal["auto", "merged", "adapters"]
_FIGURE_OF: Mapping[str, FigureName] = {"reward_mean": "reward", "gold_mean": "reward", "accuracy": "accuracy"}
_MANIFEST, _ADAPTERS, _ADAPTER_CONFIG = "run.json", "adapters/", "adapter_config.json"
_MODEL = re.compile(r"(model.*\.safetensors|model\.safetensors\.index\.json|generation_config\.json|config\.json)")


class NotExportable(Exception):  # noqa: N818 - reads as what it is
    """Why a run cannot be exported, in a sentence."""


@dataclass(frozen=True)
class Export:
    """The folder's name and its files."""

    folder: str
    entries: list[Entry]


def export(session: Session, run: Run, data: Path, weights: Weights = "auto") -> Export:
    """What the archive of a run holds. `auto` gives adapters where the run trained them on a model of a hub, which others
    can load by its name, and merged weights otherwise. `data` is the data folder as it stands now. Raises NotExportable."""
    if run.output_path is None or run.state != RunState.SUCCEEDED:
        raise NotExportable(f"run {run.name!r} is {run.state}: only a run that has succeeded has a model to export")
    location, files, sha256 = _output(session, run, data)
    read = _Reader(location, files)
    manifest = read.json(_MANIFEST)
    has_adapters = f"{_ADAPTERS}{_ADAPTER_CONFIG}" in files
    if weights == "adapters" and not has_adapters:
        raise NotExportable(f"run {run.name!r} trained no adapters: export its merged weights")
    base, base_id = _base(session, run)
    is_reward = manifest.get("kind") == "reward_model"
    if is_reward and weights == "adapters":
        raise NotExportable("adapters of a reward model are nothing without its head: export its merged weights")
    as_adapters = weights == "adapters" or (
        weights == "auto" and has_adapters and base_id is not None and not is_reward
    )
    form: model_card.Form = "classifier" if is_reward else "adapters" if as_adapters else "policy"
    written = run.finished_at or run.changed_at
    folder = slug(run.name, run.uid)
    made = _model_files(read, form, base_id, written)
    shape = read.json("config.json") if is_reward else {}
    ancestors = _ancestors(session, run)
    facts = Facts(
        uid=run.uid, name=run.name, algorithm=run.algorithm, form=form, config=run.config, base=base, base_id=base_id,
        finished_at=run.finished_at, step=run.step, sha256=sha256,
        evaluations=figure_data.load(session, run, ()).evaluations, data=run.report.get("data", manifest.get("data", {})),
        versions=manifest.get("versions", {}),
        one_row_at_a_time=is_reward and classifier.config(shape)["pad_token_id"] is None,
        ancestors=[one.uid for one in ancestors],
    )  # fmt: skip
    texts = {"README.md": model_card.card(facts), "run.toml": _toml(run)}
    texts |= {f"{one.uid}.toml": _toml(one) for one in ancestors}
    if drawn := _curve(facts):
        texts |= {model_card.CURVE: drawn, "curve.json": _figure(session, run, facts)}
    entries = made + [archives.text(name, content, written) for name, content in texts.items()]
    return Export(folder, [_below(folder, entry) for entry in entries])


def slug(name: str, uid: str) -> str:
    """A folder's name for a run: letters, digits and hyphens, and enough of its id to be told from its namesakes.

    >>> slug("CoPG β=0.5, /etc", "0123456789abcdef")
    'copg-0-5-etc-01234567'
    """
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-")
    return f"{words or 'run'}-{uid[:8]}"


class _Reader:
    """The files of an output, by name."""

    def __init__(self, location: str, files: Mapping[str, int]) -> None:
        self.location, self.files = location, files

    def json(self, name: str) -> dict[str, Any]:
        """Raises NotExportable where it is missing or unreadable."""
        try:
            return dict(json.loads(b"".join(store.read(f"{self.location}/{name}"))))
        except FileNotFoundError as error:
            raise NotExportable(f"the output at {self.location} has no {name}, or stands on another machine") from error
        except ValueError as error:
            raise NotExportable(f"{name} at {self.location} cannot be read: {error}") from error

    def stored(self, name: str, written: float, under: str = "") -> Entry:
        return archives.stored(name.removeprefix(under), f"{self.location}/{name}", self.files[name], written)


def _output(session: Session, run: Run, data: Path) -> tuple[str, dict[str, int], str | None]:
    assert run.output_path is not None
    kept = artifacts.registered(session, [run.output_path]).get(run.output_path)
    if kept is not None:
        return store.standing(kept.location, data), {file.name: file.bytes for file in kept.files}, kept.sha256
    folder = store.as_path(store.standing(run.output_path, data))  # trained before outputs were registered
    if folder is None or not folder.is_dir():
        raise NotExportable(f"the output of run {run.name!r} is not at {run.output_path}: it may be on another machine")
    found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return str(folder), found, None


def _model_files(read: _Reader, form: model_card.Form, base_id: str | None, written: float) -> list[Entry]:
    plain = [name for name in sorted(read.files) if not name.startswith(_ADAPTERS)]
    if form == "policy":
        return [read.stored(name, written) for name in plain]
    if form == "adapters":
        made = [read.stored(name, written) for name in plain if not _MODEL.fullmatch(name)]
        own = [name for name in sorted(read.files) if name.startswith(_ADAPTERS)]
        for name in own:
            if name.endswith(_ADAPTER_CONFIG):
                # Where the base is no hub's model, peft has written the path of a folder of the machine that trained.
                fitted = read.json(name) | {"base_model_name_or_path": base_id}
                made.append(archives.text(_ADAPTER_CONFIG, json.dumps(fitted, indent=2) + "\n", written))
            else:
                made.append(read.stored(name, written, _ADAPTERS))
        return made
    shape = read.json("config.json")
    if classifier.WEIGHTS not in read.files:
        raise NotExportable(f"the output at {read.location} has no {classifier.WEIGHTS}")
    weights = f"{read.location}/{classifier.WEIGHTS}"
    size, _ = classifier.weights(weights, read.files[classifier.WEIGHTS], str(shape.get("model_type")))

    def renamed() -> Any:
        return classifier.weights(weights, read.files[classifier.WEIGHTS], str(shape.get("model_type")))[1]

    left = [read.stored(name, written) for name in plain if name not in ("config.json", classifier.WEIGHTS)]
    config = json.dumps(classifier.config(shape), indent=2) + "\n"
    return [archives.text("config.json", config, written), Entry("model.safetensors", size, renamed, written), *left]


def _base(session: Session, run: Run) -> tuple[str, str | None]:
    """The model that training began with: in words, through all runs that were built on one another, and as a hub's id where
    this very run began with a hub's model, so that its adapters fit that one."""
    policy = run.config["policy"]
    if policy["kind"] == "hub":
        return f"[{policy['id']}](https://huggingface.co/{policy['id']})", str(policy["id"])
    if policy["kind"] == "preset":
        return f"a new model of the size {policy['size']}", None
    if policy["kind"] == "folder":
        return f"the model in a folder named {Path(policy['path']).name}", None
    parent = next((one for one in _parents(session, run) if one.uid == policy["run"]), None)
    if parent is None:
        return "another run", None
    words, _ = _base(session, parent)
    return f"run {parent.name!r} ({parent.algorithm}), which began with {words}", None


def _parents(session: Session, run: Run) -> list[Run]:
    named = set(parents(RUN_CONFIG.validate_python(run.config)).values())  # others are only waited for
    found = {parent.id: parent for _, parent in lineage.parents_of(session, run.id) if parent.uid in named}
    return [found[one] for one in sorted(found)]


def _ancestors(session: Session, run: Run) -> list[Run]:
    """Every run that this one builds on, parents before children."""
    order: dict[int, Run] = {}

    def visit(one: Run) -> None:
        for parent in _parents(session, one):
            if parent.id not in order:
                visit(parent)
                order[parent.id] = parent

    visit(run)
    return list(order.values())


def _toml(run: Run) -> str:
    built_on = parents(RUN_CONFIG.validate_python(run.config)).items()
    notes = [f"# {role}: the run of {uid}.toml" for role, uid in built_on if "/" not in uid]
    return "\n".join([toml_text.comment(run.name), *notes, "", toml_text.dump(run.config)])


def _curve(facts: Facts) -> str:
    shown = model_card.measured(facts)
    if shown is None:
        return ""
    name, title, error = shown
    rows = facts.evaluations
    return curve(
        [row.step for row in rows], [row[name] for row in rows], [row[error] if error else None for row in rows],
        title=f"{title} of {facts.name}", y_title=title, colour=COLOURS.get(facts.algorithm, NEUTRAL),
    )  # fmt: skip


def _figure(session: Session, run: Run, facts: Facts) -> str:
    """The studio's own figure of what the curve shows, as Plotly JSON: with its other measures, to zoom in and to draw anew."""
    shown = model_card.measured(facts)
    assert shown is not None, "there is a curve"
    figure = FIGURES[_FIGURE_OF.get(shown[0], "loss")]
    return json.dumps(as_json(figure.draw(figure_data.load(session, run, figure.metrics)))) + "\n"


def _below(folder: str, entry: Entry) -> Entry:
    return Entry(f"{folder}/{entry.name}", entry.size, entry.read, entry.written)
