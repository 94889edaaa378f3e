"""A report's tables: the groups beside their baseline, the settings that set them apart, and the runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from backend.report.words import NONE, chance, difference, number, setting, with_error
from backend.schemas.compare import ComparedGroup, CompareOut


def _heads(seen: CompareOut) -> tuple[str, ...]:
    return ("Group", "Runs", "Step", "Mean ± s.e.", seen.kl_title, "Difference [95 %]", "p, bootstrap", "p, sign test",
            "Better / worse")  # fmt: skip


def differences(seen: CompareOut) -> Iterator[str]:
    """Last means and paired differences, as on the compare page; a narrow document shows each group as a card."""
    heads = _heads(seen)
    yield '<div class="scroll"><table class="cards" id="differences"><thead><tr>'
    yield "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield "</tr></thead><tbody>"
    for group in seen.groups:
        cells = zip(heads[1:], _cells(group, is_baseline=group.id == seen.baseline), strict=True)
        best = ' <span class="tag">best</span>' if group.is_best else ""
        yield f'<tr data-group="{group.id}"><th scope="row">{escape(group.label)}{best}</th>'
        yield "".join(_cell(head, cell) for head, cell in cells)
        yield "</tr>"
    yield "</tbody></table></div>"


def _cell(head: str, content: str) -> str:
    """In a narrow document its head stands before it."""
    return f'<td data-label="{head}"><span>{content}</span></td>' if content else "<td></td>"


def _cells(group: ComparedGroup, *, is_baseline: bool) -> list[str]:
    over = f"<small>over {escape(group.error_over)}</small>" if group.error_over else ""
    cells = [
        f"{len(group.runs)}",
        number(group.step),
        f"{with_error(group.mean, group.stderr)}{over}",
        number(group.kl, 3),
    ]
    test = group.difference
    if is_baseline:
        return [*cells, "baseline", "", "", ""]
    if test is None:
        return [*cells, escape(group.untested or NONE), "", "", ""]
    told = NONE
    if test.mean is not None:
        step = "" if test.step == group.step else f", both at step {number(test.step)}"
        told = f"{difference(test.mean, test.low, test.high)}<small>n = {number(test.n)} prompts{step}</small>"
    return [*cells, told, chance(test.p), chance(test.p_sign), f"{test.wins} / {test.losses}"]


def settings(seen: CompareOut) -> Iterator[str]:
    """Each setting that differs, a row for each group."""
    heads = [field.label for field in seen.fields]
    yield '<div class="scroll"><table class="cards" id="settings"><thead><tr><th scope="col">Group</th>'
    yield "".join(f'<th scope="col" title="{escape(field.path)}">{escape(field.label)}</th>' for field in seen.fields)
    yield "</tr></thead><tbody>"
    for group in seen.groups:
        values = [setting(group.settings[one.path]) if one.path in group.settings else NONE for one in seen.fields]
        yield f'<tr><th scope="row">{escape(group.label)}</th>'
        yield "".join(_cell(escape(head), escape(value)) for head, value in zip(heads, values, strict=True))
        yield "</tr>"
    yield "</tbody></table></div>"


def runs(seen: CompareOut, notes: Mapping[str, str], address: str) -> Iterator[str]:
    """Every run with its page in the studio at `address`, and what somebody noted of it."""
    heads = ("Run", "Id", "State", "Seed", "Group")
    yield '<div class="scroll"><table class="cards" id="runs"><thead><tr>'
    yield "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield "</tr></thead><tbody>"
    for group in seen.groups:
        for run in group.runs:
            link = f'<a href="{escape(address)}runs/{run.id}" rel="noreferrer">{escape(run.name)}</a>'
            noted = f'<small class="notes">{escape(notes[run.id])}</small>' if notes.get(run.id) else ""
            yield f'<tr><th scope="row">{link}{noted}</th>'
            cells = (
                f"<code>{run.id}</code>",
                run.state.value.lower(),
                NONE if run.seed is None else str(run.seed),
                escape(group.label),
            )
            yield "".join(_cell(head, cell) for head, cell in zip(heads[1:], cells, strict=True))
            yield "</tr>"
    yield "</tbody></table></div>"
