"""Colours that stand for something stay apart for people with any colour vision, on a light and on a dark ground.

Dichromats are simulated by Machado, Oliveira and Fernandes (2009) at full severity, in linear RGB; distances are Euclidean in
OKLab (Ottosson, 2020) times 100, where 2 is about what can just be told apart side by side.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.figures.style import COLOURS, sequential

THEME = (Path(__file__).resolve().parents[2] / "frontend" / "src" / "theme.ts").read_text()
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# What meets in one figure: on the compare page, on the bandit page, in the list of runs.
TOGETHER = [
    ("copg", "dpo", "ipo", "policy_gradient", "sft"),
    ("copg", "pg", "pg_value", "ipo", "dpo", "rloo"),
    ("copg", "dpo", "ipo", "policy_gradient", "sft", "reward_model"),
]
GROUND = {"light": "#ffffff", "dark": "#161a21"}
APART, LEGIBLE = 8.0, 3.0  # 3:1 is WCAG 2.2's contrast of what is no text
Colour = np.ndarray[Any, np.dtype[np.float64]]


def linear(colour: str) -> Colour:
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Colour) -> Colour:
    cones = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                      [0.0883024619, 0.2817188376, 0.6299787005]]) @ np.clip(rgb, 0, 1)  # fmt: skip
    lab: Colour = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                            [0.0259040371, 0.7827717662, -0.8086757660]]) @ np.cbrt(cones)  # fmt: skip
    return lab


def contrast(one: str, other: str) -> float:
    dark, light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def palette(scheme: str) -> dict[str, str]:
    """The page's colours of algorithms on a ground."""
    block = THEME[THEME.index("ALGORITHM_COLORS") : THEME.index("STATE_COLORS")]
    found = re.findall(rf"(\w+): \{{.*?{scheme}: '(#[0-9a-f]{{6}})'", block)
    assert len(found) == len(COLOURS)
    return dict(found)


def nearest(colours: dict[str, str], matrix: Any) -> Iterator[tuple[float, str, str]]:
    seen = {name: oklab(np.asarray(matrix) @ linear(colour)) for name, colour in colours.items()}
    for group in TOGETHER:
        for one, other in itertools.combinations(group, 2):
            yield 100 * float(np.linalg.norm(seen[one] - seen[other])), one, other


def test_known_colours_are_measured_rightly() -> None:
    assert oklab(linear("#ffffff")) == pytest.approx([1, 0, 0], abs=1e-3)
    assert oklab(linear("#ff0000")) == pytest.approx([0.628, 0.225, 0.126], abs=1e-3)
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    red, green = (oklab(np.asarray(VISIONS["deuteranopia"]) @ linear(colour)) for colour in ("#c05040", "#7a7040"))
    assert 100 * float(np.linalg.norm(red - green)) < APART  # what a deuteranope confuses is told to be too near


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", GROUND)
def test_algorithms_that_meet_stay_apart(scheme: str, vision: str) -> None:
    assert min(nearest(palette(scheme), VISIONS[vision]))[0] >= APART


@pytest.mark.parametrize("scheme", GROUND)
def test_each_is_legible_on_its_ground(scheme: str) -> None:
    assert {name: contrast(colour, GROUND[scheme]) for name, colour in palette(scheme).items()
            if contrast(colour, GROUND[scheme]) < LEGIBLE} == {}  # fmt: skip


def test_figures_have_the_colours_of_the_page() -> None:
    assert palette("light") == COLOURS


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("scheme", GROUND)
def test_the_scale_of_ordered_values_rises_in_lightness(scheme: str, vision: str) -> None:
    colours = [sequential(share)[scheme] for share in np.linspace(0, 1, 9)]
    lightness = [oklab(np.asarray(VISIONS[vision]) @ linear(colour))[0] for colour in colours]
    assert np.all(np.diff(lightness) > 0.02)
