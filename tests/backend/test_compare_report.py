"""A comparison as one file: what it says, that it says no more than people wrote, and that it is the page's numbers."""

from __future__ import annotations

import base64
import doctest
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend.figures import grounds
from backend.main import create_app
from backend.report import figures as report_figures
from backend.report import words
from backend.report.words import with_error
from copg_core import events
from tests.backend.studio_bench import API, Bench, evaluation, problem
from tests.backend.test_colours import palette
from tests.backend.test_commands import Copg, address, copg, file, two_betas, worker
from tests.backend.test_compare import trained

__all__ = ["address", "copg", "file", "worker"]

EVIL = '</script><script>alert(1)</script><img src="http://elsewhere.example/x">\'"&'


class Read(HTMLParser):
    """What a browser would find: scripts with their texts, the cells of each table, and whatever would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.headings: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.words: list[str] = []
        self.policy = ""
        self._open: list[str] = []
        self._table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._open.append(tag)
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in {"src", "srcset", "data", "background"}]
        if tag in {"link", "iframe", "img", "object", "base"}:
            self.fetched.append(tag)
        if any(name.startswith("on") for name, _ in attrs):
            self.fetched.append(f"{tag} handler")
        if tag == "script":
            self.scripts.append((given, ""))
        elif tag == "table":
            self._table = str(given["id"])
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in {"td", "th"}:
            self.tables[self._table][-1].append("")
        elif tag == "h2":
            self.headings.append("")
        elif tag == "a":
            self.links.append(str(given["href"]))
        elif tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._open:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
            return
        self.words.append(data)
        if "td" in self._open or "th" in self._open:
            self.tables[self._table][-1][-1] += data
        elif "h2" in self._open:
            self.headings[-1] += data

    @property
    def figures(self) -> list[dict[str, Any]]:
        [data] = [text for given, text in self.scripts if given.get("type") == "application/json"]
        return list(json.loads(data))


def report(bench: Bench, **query: Any) -> Read:
    answer = bench.client.get(f"{API}/compare/report", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert re.fullmatch(
        r'attachment; filename="comparison-\d{4}-\d\d-\d\d\.html"', answer.headers["content-disposition"]
    )
    return Read(answer.content.decode())


def four(bench: Bench) -> list[str]:
    runs = [trained(bench, 1.0 + seed, beta=0.1, seed=seed) for seed in (0, 1)]
    return [*runs, *(trained(bench, 3.0, beta=1.0, seed=seed) for seed in (0, 1))]


def test_numbers_are_written_as_the_page_writes_them() -> None:
    found = doctest.testmod(words)
    assert (found.failed, found.attempted > 5) == (0, True)


def test_a_report_says_what_the_page_says(bench: Bench) -> None:
    runs = four(bench)
    seen = bench.get("/compare", run=runs, measure="gold")
    read = report(bench, run=runs, measure="gold")
    for group, row in zip(seen["groups"], read.tables["differences"][1:], strict=True):
        difference = group["difference"]
        assert row[0].startswith(group["label"])
        assert row[3] == f"{with_error(group['mean'], group['stderr'])}over {group['error_over']}"
        assert row[5].startswith(words.difference(difference["mean"], difference["low"], difference["high"]))
        assert f"n = {difference['n']} prompts" in row[5]
        assert row[8] == f"{difference['wins']} / {difference['losses']}"
    said = " ".join(read.words)
    assert seen["method"] in said
    assert [note for note in seen["notes"] if note not in said] == []
    assert read.tables["settings"] == [["Group", "beta"], ["CoPG β = 0.1", "0.1"], ["CoPG β = 1", "1"]]
    assert [row[1] for row in read.tables["runs"][1:]] == runs
    assert {row[2] for row in read.tables["runs"][1:]} == {"succeeded"}
    assert [link for link in read.links if "/runs/" in link] == [f"http://127.0.0.1:8000/runs/{run}" for run in runs]
    assert 'kind = "gold"' in said, "the configurations"


def test_its_figures_are_those_of_the_page(bench: Bench) -> None:
    runs = four(bench)
    look = {"run": runs, "band": "ci95", "smoothing": 2, "target": 1.0}
    read = report(bench, **look)
    seen = bench.get("/compare", run=runs)
    panels = seen["figures"]
    drawn = [bench.get(f"/compare/figures/{panel['name']}", **look)["figure"] for panel in panels]
    assert [one["data"] for one in read.figures] == [one["data"] for one in drawn]
    assert read.headings[1 : 1 + len(panels)] == [panel["title"] for panel in panels]
    said = " ".join(read.words)
    assert f"{seen['summary']}." in said
    assert seen["about"]["smoothing"].replace("to the evaluations", "to the 2 evaluations") in said
    told = "the 95 % interval of the mean by Student’s t, over the seeds of a group, or over prompts where there is one seed"
    assert (told in seen["about"]["bands"], told in said) == (True, True)


def test_what_people_wrote_stays_text(bench: Bench) -> None:
    uids = [trained(bench, 1.0, beta=beta) for beta in (0.1, 1.0)] + [trained(bench, 2.0, beta=0.1, seed=1_234_567)]
    for uid in uids:
        edit = bench.client.patch(f"{API}/runs/{uid}", json={"name": EVIL, "notes": EVIL})
        assert edit.status_code == 200, edit.text
    read = report(bench, run=uids)
    assert read.fetched == []
    assert "1234567" in [row[3] for row in read.tables["runs"]], "a seed is an input: nothing of it is rounded"
    assert read.tables["runs"][1][0] == EVIL * 2, "its name and its notes"
    names = {trace["name"] for figure in read.figures for trace in figure["data"]}
    assert EVIL in names, "a seed's curve has the name of its run"
    run = [text for given, text in read.scripts if given.get("type") != "application/json"]
    assert len(run) == 3
    allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in run]
    assert f"default-src 'none'; script-src {' '.join(allowed)}; " in read.policy
    assert " ".join(read.words).count(f"# {EVIL}\n") == 2, "each group's configuration says whose it is"


def test_behind_a_proxy_its_links_lead_where_the_browser_came_from(bench: Bench) -> None:
    run = trained(bench, 1.0)
    settings = replace(bench.settings, trusted_proxies="10.0.0.0/8", admin_token="x" * 40)
    through = {"X-Forwarded-Proto": "https", "Host": "127.0.0.1", "Authorization": f"Bearer {'x' * 40}"}
    links = {}
    for peer in ("10.0.0.1", "192.0.2.7"):
        with TestClient(create_app(settings), "http://127.0.0.1", client=(peer, 50_000)) as client:
            answer = client.get(f"{API}/compare/report", params={"run": run}, headers=through)
        assert answer.status_code == 200, answer.text
        links[peer] = f"//127.0.0.1/runs/{run}" in answer.text and f"https://127.0.0.1/runs/{run}" in answer.text
    assert links == {"10.0.0.1": True, "192.0.2.7": False}


def test_a_sweep_by_its_name_and_one_algorithm(bench: Bench) -> None:
    body = {"name": "<b>betas</b>", "config": {"algorithm": "copg", "steps": 100, "reward": {"kind": "gold"}},
            "grid": {"beta": [0.1, 1.0]}}  # fmt: skip
    sweep = bench.client.post(f"{API}/sweeps", json=body).json()["id"]
    read = report(bench, sweep=sweep)
    assert "<b>betas</b>" in read.words
    assert f"http://127.0.0.1:8000/compare?sweep={sweep}&measure=reward&band=stderr" in read.links
    assert read.figures == []
    assert len(read.scripts) == 2, "nothing to draw, and nothing to draw it with"
    assert "Nothing was measured yet" in " ".join(read.words)
    assert "still going on" in " ".join(read.words)
    members = [one["run"]["id"] for one in bench.get(f"/sweeps/{sweep}/members")["items"]]
    for uid in members:
        claim = bench.claim(uid)
        bench.record(claim, evaluation(0), evaluation(100, reward=1.0), events.Finished(step=100, output="/nowhere"))
        bench.finish(claim)
    dpo = [trained(bench, 2.0, algorithm="dpo", beta=beta) for beta in (0.1, 1.0)]
    both = report(bench, run=[*members, *dpo])
    assert "Reward against step, DPO" in both.headings
    alone = report(bench, run=[*members, *dpo], algorithm="dpo")
    assert {trace["meta"]["algorithm"] for one in alone.figures for trace in one["data"]} == {"dpo", ""}
    assert "Reward against step, DPO" in alone.headings, "the table has all groups"
    assert len(alone.tables["differences"]) == 5


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({}, 422, "run"),
        ({"run": ["beef"]}, 404, None),
        ({"sweep": "beef"}, 404, None),
        ({"run": ["RUN"], "smoothing": 101}, 422, "smoothing"),
        ({"run": ["RUN"], "target": "nan"}, 422, "target"),
        ({"run": ["RUN"], "algorithm": "ppo"}, 422, "algorithm"),
        ({"run": [f"{place:032x}" for place in range(101)]}, 422, "run"),
    ],
)
def test_what_cannot_be_reported_is_said(bench: Bench, query: dict[str, Any], status: int, field: str | None) -> None:
    if query.get("run") == ["RUN"]:
        query = {**query, "run": [bench.launch()]}
    answer = bench.client.get(f"{API}/compare/report", params=query)
    problem(answer, status, *([field] if field else []))


def test_both_grounds_have_the_colours_of_the_page(bench: Bench) -> None:
    assert {ground: palette(ground) for ground in grounds.ALGORITHMS} == grounds.ALGORITHMS
    theme = (Path(__file__).resolve().parents[2] / "frontend" / "src" / "theme.ts").read_text()
    surfaces = theme[theme.index("SURFACES") :]
    for ground, expected in grounds.SURFACES.items():
        block = surfaces[surfaces.index(f"{ground}: {{") :].partition("},")[0]
        assert {name: re.search(rf"\b{name}: '(\S+)'", block)[1] for name in expected} == expected  # type: ignore[index]
    look = report(bench, run=four(bench)).figures[0]["looks"]
    light, dark = ([one["line"]["color"] for one in look[ground]["data"]] for ground in report_figures.GROUNDS)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    assert look["dark"]["layout"]["font"]["color"] == grounds.SURFACES["dark"]["text"]


def test_the_command_writes_a_report(copg: Copg, file: Path, worker: Bench, tmp_path: Path) -> None:
    runs = two_betas(copg, file, worker)
    target = tmp_path / "report.html"
    assert str(target) in copg("report", *runs, "-o", str(target), "--band", "ci95", "--baseline", "reference").output
    read = Read(target.read_text())
    assert [row[1] for row in read.tables["runs"][1:]] == runs
    assert "95 % interval" in " ".join(read.words)
    assert copg("report", runs[0]).stdout.startswith("<!doctype html>")
    assert "--sweep" in copg("report", code=1).output
    assert "'dpo'" in copg("report", *runs, "--algorithm", "dpo", "-o", str(target), code=1).output
    assert Read(target.read_text()).figures == read.figures, "what was there stays where nothing better comes"
