"""Figures leave as SVG and PNG where the studio can draw, and with a sentence that says what is missing where it cannot."""

from __future__ import annotations

import shutil
import struct
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest

from backend import figure_images
from backend.database import Database
from backend.figure_images import HEIGHT, SCALE, WIDTH
from backend.figures.catalogue import FIGURES
from backend.figures.compare import TITLES
from copg_core import events
from tests.backend.studio_bench import API, Bench, evaluation, problem
from tests.backend.test_commands import Copg, address, copg, file, launch, two_betas, worker
from tests.conftest import missing

__all__ = ["address", "copg", "file", "worker"]


@pytest.fixture
def browser() -> None:
    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        missing("browser", "install Chromium to run the tests that make pictures")


def trained(bench: Bench) -> str:
    uid = bench.launch()
    claim = bench.claim(uid)
    bench.record(claim, evaluation(0), evaluation(100, reward=1.0))
    bench.record(claim, events.Finished(step=100, output="/nowhere"))
    bench.finish(claim)
    return uid


@pytest.mark.usefixtures("browser")
def test_a_runs_figure_as_a_picture(bench: Bench) -> None:
    run = trained(bench)
    drawn = bench.client.get(f"{API}/figures/reward", params={"run": run, "format": "svg"})
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert drawn.headers["content-disposition"] == f'attachment; filename="{run}-reward.svg"'
    root = ElementTree.fromstring(drawn.content)
    assert (root.get("width"), root.get("height")) == (str(WIDTH), str(HEIGHT))
    assert "Optimizer step" in "".join(root.itertext())
    picture = bench.client.get(f"{API}/compare/figures/reward", params={"run": [run], "format": "png"}).content
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (WIDTH * SCALE, HEIGHT * SCALE)


def test_without_the_extra_it_says_how_to_get_pictures(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaleido.errors", None)
    run = trained(bench)
    refused = problem(
        bench.client.get(f"{API}/figures/reward", params={"run": run, "format": "png"}), 422, "format"
    )  # fmt: skip
    assert "pip install 'copg-studio[images]'" in refused["detail"]
    assert bench.client.get(f"{API}/figures/reward", params={"run": run, "format": "csv"}).status_code == 200


def test_who_waits_too_long_for_a_picture_may_ask_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_images, "PATIENCE", 0.01)
    run = trained(bench)
    with figure_images._ONE_AT_A_TIME:
        answer = bench.client.get(f"{API}/figures/reward", params={"run": run, "format": "svg"})
    problem(answer, 503)
    assert bench.client.get(f"{API}/figures/reward", params={"run": run}).status_code == 200


def test_a_line_for_pictures_is_short_because_each_who_waits_holds_a_thread(bench: Bench) -> None:
    run = trained(bench)
    with ExitStack() as line:
        for _ in range(4):
            line.enter_context(figure_images._IN_THE_LINE)
        problem(bench.client.get(f"{API}/compare/figures/reward", params={"run": run, "format": "svg"}), 503)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("ChromeNotFoundError", "neither Chrome nor Chromium"), ("BrowserFailedError", "does not run")],
)
def test_without_chrome_it_says_so_too(bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str, words: str) -> None:
    from kaleido import errors

    def fails(figure: go.Figure, **options: Any) -> bytes:
        raise getattr(errors, kind)("no display")

    monkeypatch.setattr(go.Figure, "to_image", fails)
    asked = {"column": f"{trained(bench)}@last", "format": "svg"}
    assert words in problem(bench.client.get(f"{API}/samples/figures/length", params=asked), 422, "format")["detail"]


def test_words_over_a_legend_stand_above_it_and_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str | None, int]] = []

    def draw(figure: go.Figure, *, height: int, **_: Any) -> bytes:
        made.append((figure.layout.legend.title.side, height))
        return b""

    monkeypatch.setattr(go.Figure, "to_image", draw)
    named = go.Figure([go.Scatter(x=[0], y=[0], name="a long name of a curve " * 6)] * 2)
    for title in ("", "mean of three seeds; dotted: the limit"):
        figure_images.image(go.Figure(named).update_layout(legend_title_text=title), "svg")
    (side, without), (_, tall) = made
    assert (side, tall - without) == ("top", figure_images.LINE)


def test_the_command_writes_a_figure_of_one_run_and_of_several(
    copg: Copg, file: Path, worker: Bench, tmp_path: Path, database: Database
) -> None:
    runs = [launch(copg, file) for _ in range(2)]
    for run in runs:
        worker.record(worker.claim(run), evaluation(0), evaluation(100, reward=1.0))
    target = tmp_path / "reward.csv"
    copg("figure", "reward", runs[0], "--to", str(target))
    assert target.read_text().splitlines()[0] == "role,series,step,value"
    assert copg("figure", "frontier", *runs, "--format", "csv").stdout.startswith("role,series,x,y")
    assert '"figure"' in copg("figure", "reward", runs[0], "--format", "json").stdout
    assert "--sweep" in copg("figure", "reward", code=1).output
    assert "--format svg, png" in copg("figure", "reward", runs[0], "--to", str(tmp_path / "figure.pdf"), code=1).output
    assert "'reward', 'accuracy'" in copg("figure", "unheard", runs[0], "--format", "csv", code=1).output
    assert (
        "cannot be written" in copg("figure", "reward", runs[0], "--to", str(tmp_path / "no" / "a.csv"), code=1).output
    )
    assert list(tmp_path.glob(".*")) == []


def test_the_command_draws_as_the_page_does(copg: Copg, file: Path, worker: Bench) -> None:
    """Every choice of the page, and every name in its help."""
    runs = two_betas(copg, file, worker)

    def rows(name: str, *options: str) -> str:
        return copg("figure", name, *runs, "--format", "csv", *options).stdout

    assert "95 % interval, n = " in rows("reward", "--band", "ci95")
    assert "smoothed (± 2)" in copg("figure", "reward", *runs, "--format", "json", "--smoothing", "2").stdout
    assert rows("time", "--target", "0.5").count("\n") == 3
    assert rows("cost", "--target", "99").count("\n") == 1
    assert rows("reward", "--algorithm", "copg") == rows("reward")
    assert "none of these runs is of 'dpo'" in copg("figure", "reward", *runs, "--algorithm", "dpo", code=1).output
    assert "--band is for the figures of several" in copg("figure", "reward", runs[0], "--band", "ci95", code=1).output
    told = copg("figure", "--help").output
    assert [name for name in (*FIGURES, *TITLES) if name not in told] == []
