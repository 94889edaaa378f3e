"""What stands at the pointer: numbers of every size are told, with a real minus, whoever draws the figure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page
from plotly.offline import get_plotlyjs

from backend.comparisons import compare
from backend.figures import bandit, grounds
from backend.figures.catalogue import FIGURES, as_json
from backend.figures.compare import Look, draw
from backend.figures.final_reward import final_reward
from copg_core.bandit import BanditConfig
from copg_core.bandit_result import run_bandit
from tests.backend.test_compare import member, point
from tests.backend.test_figures import data, row
from tests.backend.test_sweep_figure import result

pytestmark = pytest.mark.e2e
REWARDS = (0.00042, -1234.5, -0.5)
HOVER = """([figure, curve, point]) => {
  const place = document.querySelector('#plot');
  return Plotly.newPlot(place, figure.data, figure.layout).then(() => {
    const closest = figure.layout.hovermode === 'closest';
    Plotly.Fx.hover(place, closest ? [{ curveNumber: curve, pointNumber: point }] : { xval: figure.data[curve].x[point] });
    return [...place.querySelectorAll('.hoverlayer text')].map((text) => text.textContent).join(' ');
  });
}"""


def compared(name: Any, groups: int = 1) -> dict[str, Any]:
    points = [point(10_000 * place, reward, kl=reward / 10) for place, reward in enumerate(REWARDS)]
    return as_json(draw(compare([replace(member(1.0 + place), points=points) for place in range(groups)]), Look(name)))


def run(name: Any, **values: list[float | None]) -> dict[str, Any]:
    rows = [row(10_000 * place, **{key: some[place] for key, some in values.items()}) for place in range(3)]
    return as_json(FIGURES[name].draw(data(rows=rows, reward={"kind": "run", "run": "rm"})))


def role(figure: dict[str, Any], wanted: str) -> int:
    return next(place for place, trace in enumerate(figure["data"]) if trace["meta"]["role"] == wanted)


def regret(scale: Any) -> dict[str, Any]:
    config = BanditConfig(epochs=3, pairs=2000)
    return dict(bandit.regret(config, run_bandit(config), scale))


@pytest.mark.parametrize(
    ("figure", "wanted", "told"),
    [
        (compared("reward"), "mean", ("0.00042", "−1,235", "−0.5")),
        (compared("reward", 13), "mean", ("step 0: 0.00042", "step 10,000: −1,235", "step 20,000: −0.5")),
        (compared("frontier"), "way", ("0.000042", "−123.5", "−0.05")),
        (run("reward", reward_mean=list(REWARDS), reward_stderr=[None] * 3), "reward", ("0.00042", "−1,235", "−0.5")),
        (run("length", length_mean=[1234.5, 8.0, 0.5], unfinished_share=[0.0004, 1.0, 0.0]), "unfinished", ("0.04%", "100%", "0%")),
        (run("length", length_mean=[12_345.6, 8.0, 0.5], unfinished_share=[0.0004, 1.0, 0.0]), "length", ("12,345.6", "8", "0.5")),
    ],
    ids=["curves", "many curves", "ways", "reward of a run", "shares", "lengths"],
)  # fmt: skip
def test_numbers_of_any_size_are_told(page: Page, figure: dict[str, Any], wanted: str, told: tuple[str, ...]) -> None:
    opened(page)
    for place, text in enumerate(told):
        said = hovered(page, figure, role(figure, wanted), place)
        assert text in said
        assert "-" not in said.replace("copg-", "")
    assert "20,000" in said, "the step, of which the page does not take the format from a figure's template"


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_small_regret_is_told_on_either_axis(page: Page, scale: str) -> None:
    figure = regret(scale)
    opened(page)
    place = role(figure, "regret")
    figure["data"][place] |= {"y": [0.00042, 0.5, 12.0], "x": [0, 1, 20_000]}
    assert "0.00042" in hovered(page, figure, place, 0)
    assert "20,000" in hovered(page, figure, place, 2)


def test_a_beta_whose_tick_has_no_room_for_its_name_is_told(page: Page) -> None:
    betas = (0.001, 0.01, 0.011, 0.1, 0.95, 1.0)
    figure = as_json(final_reward([result(beta, 1.0) for beta in betas], "Beta", None))
    opened(page)
    for place, beta in enumerate(betas):
        assert f"Beta {beta:g}:" in hovered(page, figure, role(figure, "final"), place)


def opened(page: Page) -> None:
    page.set_content('<div id="plot" style="width:900px;height:400px"></div>')
    page.add_script_tag(content=get_plotlyjs())


def hovered(page: Page, figure: dict[str, Any], curve: int, place: int) -> str:
    layout = grounds.layout(figure["layout"], "light")
    return str(page.evaluate(HOVER, [{"data": figure["data"], "layout": layout}, curve, place]))
