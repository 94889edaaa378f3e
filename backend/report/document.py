"""A comparison as one HTML file: opened anywhere and at any time, it asks nobody for anything.

Text and tables are there without JavaScript; plotly.js, which draws the figures, stands in the file. The policy in its head lets our
scripts run by their hashes and nothing else, and forbids every request, whatever a run is called.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from typing import Any

from backend import toml_text
from backend.comparisons import NAMES
from backend.figures.grounds import SURFACES
from backend.report import figures, table
from backend.schemas.compare import ComparedGroup, CompareOut
from copg_core.wording import counted

_SCRIPTED = "document.documentElement.dataset.scripted = '';"
"""Says before anything is painted that there will be figures."""


@dataclass(frozen=True)
class Report:
    """What a report says. `address`: of the studio, with a slash at its end; `query`: what the compare page shows of it."""

    name: str
    made_at: datetime
    version: str
    address: str
    query: str
    seen: CompareOut
    shown: Sequence[figures.Shown]
    notes: Mapping[str, str]
    configs: Mapping[str, Mapping[str, Any]]


def title_of(seen: CompareOut) -> str:
    """What a comparison is called that has no name of its own, as in `CoPG, DPO: 4 runs`."""
    algorithms = dict.fromkeys(NAMES.get(group.algorithm, group.algorithm) for group in seen.groups)
    return f"{', '.join(algorithms)}: {counted(sum(len(group.runs) for group in seen.groups), 'run')}"


def render(report: Report) -> bytes:
    """The file. What people wrote is escaped; the figures' numbers stand in a block that no browser runs."""
    plotly, ours = _plotly(), _file("report.js")
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, (_SCRIPTED, plotly, ours)))}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    name = escape(report.name)
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f'<meta name="referrer" content="no-referrer">\n<title>{name} · CoPG Studio</title>\n'
        f"<script>{_SCRIPTED}</script>\n<style>{_colours()}{_file('report.css')}</style>\n</head>\n<body>\n"
    )
    drawable = json.dumps([figures.drawable(one) for one in report.shown], separators=(",", ":"))
    parts = [head, *_body(report, name)]
    # Inside a script only `<` could end it; JSON may write it as it likes.
    parts += ['<script type="application/json" id="figures-data">', drawable.replace("<", "\\u003c"), "</script>\n"]
    if report.shown:
        parts += ["<script>", plotly, "</script>\n<script>", ours, "</script>\n"]
    return "".join([*parts, "</body>\n</html>\n"]).encode()


def _body(report: Report, name: str) -> Iterator[str]:
    seen = report.seen
    when = f"{report.made_at.day} {report.made_at:%B %Y, %H:%M} UTC"
    yield f"<header><h1>{name}</h1>\n<p>{escape(seen.summary)}. {'Gold reward' if seen.measure == 'gold' else 'Reward'}, {_baseline(seen)}.</p>\n"
    if seen.left_out is not None:
        yield f'<p id="left-out">{escape(seen.left_out)}</p>\n'
    yield f'<p class="muted">Made on <time datetime="{report.made_at.isoformat()}">{when}</time> by CoPG Studio {escape(report.version)} from '
    link = f"{report.address}compare?{report.query}"
    yield f'<a href="{escape(link)}" rel="noreferrer">this comparison</a> at {escape(report.address)}, where the links lead.'
    if seen.active:
        yield " <strong>Some of these runs were still going on.</strong>"
    yield "</p></header>\n<main>\n<section><h2>At the last evaluation</h2>\n"
    yield from table.differences(seen)
    yield f'<p class="muted" id="method">{" ".join(escape(one) for one in (seen.method, *seen.notes))}</p></section>\n'
    yield from _figures(report.shown)
    if seen.fields:
        yield "<section><h2>What differs</h2>\n"
        yield from table.settings(seen)
        yield "</section>\n"
    yield "<section><h2>Runs</h2>\n"
    yield from table.runs(seen, report.notes, report.address)
    yield "</section>\n"
    configs = [part for group in seen.groups for part in _config(group, report.configs)]
    if configs:
        yield "<section><h2>Configurations</h2>\n<p class=muted>Each as <code>copg launch</code> reads it, from a file of its own.</p>\n"
        yield from configs
        yield "</section>\n"
    yield "</main>\n"


def _baseline(seen: CompareOut) -> str:
    label = next(one.label for one in seen.baselines if one.id == seen.baseline)
    return f"compared with {escape(label)}"


def _figures(shown: Sequence[figures.Shown]) -> Iterator[str]:
    if not shown:
        yield "<section><h2>Figures</h2><p>Nothing was measured yet when this was made: there is no figure.</p></section>\n"
        return
    yield '<section class="unscripted"><p>JavaScript is off, and it draws the figures. The tables have the last evaluation of each group.</p></section>\n'
    yield '<div class="figures">\n'
    for one in shown:
        yield f'<section class="figure{" wide" if one.wide else ""}"><h2>{escape(one.title)}</h2>\n'
        yield f'<div class="plot" style="height:{one.height}px"></div>\n'
        yield from figures.legend(one.figure["data"])
        yield f'<p class="muted">{escape(one.caption)}</p></section>\n'
    yield "</div>\n"


def _config(group: ComparedGroup, configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Of a group's runs the first that is still there: the others have another seed and nothing else."""
    first = next((run for run in group.runs if run.id in configs), None)
    if first is None:
        return
    others = [run for run in group.runs if run is not first]
    seeds = f"# Its other runs have the seeds {', '.join(str(run.seed) for run in others)}.\n" if others else ""
    text = f"{toml_text.comment(first.name)}\n{seeds}\n{toml_text.dump(configs[first.id])}"
    yield f"<details><summary>{escape(group.label)}</summary><pre>{escape(text)}</pre></details>\n"


def _colours() -> str:
    """The document's colours as variables; on paper it is light."""
    light, dark = (
        "".join(f"--{name}:{colour};" for name, colour in SURFACES[ground].items()) for ground in figures.GROUNDS
    )
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


@functools.cache
def _file(name: str) -> str:
    return resources.files("backend.report").joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # brings a web client along that nothing else here needs

    return str(get_plotlyjs())


@functools.cache
def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
