"""The bandit in a real browser: the curve follows the slider, and the address holds the experiment."""

from __future__ import annotations

import base64
import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import expect_fitting
from tests.e2e.conftest import Studio

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]

# The last regret that is drawn for an algorithm, whether plotly keeps numbers or an encoded array.
LAST_REGRET = """(algorithm) => {
  const plot = document.querySelector('[data-testid="figure-regret"] .js-plotly-plot');
  const trace = plot && plot.data.find((one) => one.meta.role === 'regret' && one.meta.algorithm === algorithm);
  return trace ? Number(trace.y[trace.y.length - 1]) : null;
}"""
DRAWN = "(key) => document.querySelector('[data-testid=bandit]')?.dataset.drawn === key"


def drawn(page: Page, key: str) -> None:
    """Wait for the thorough picture of the experiment at this address."""
    page.wait_for_function(DRAWN, arg=key)


def end(answer: dict[str, Any], algorithm: str) -> float:
    """The last regret in the API's figure."""
    trace = next(
        one
        for one in answer["figures"]["regret"]["data"]
        if one["meta"]["role"] == "regret" and one["meta"]["algorithm"] == algorithm
    )
    return float(np.frombuffer(base64.b64decode(trace["y"]["bdata"]), "<f4")[-1])


def test_the_curve_follows_the_slider_and_the_address_the_experiment(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/runs")
    page.get_by_role("link", name="Bandit", exact=True).click()
    drawn(page, "")
    paper = page.evaluate(LAST_REGRET, "copg")
    assert paper == pytest.approx(end(studio.post("/bandit/figures", {}, status=200), "copg"))
    expect(page.get_by_test_id("preset-paper")).to_have_attribute("aria-pressed", "true")
    colours = page.evaluate("""() => document.querySelector('[data-testid="figure-regret"] .js-plotly-plot').data
        .filter((one) => one.meta.algorithm === 'ipo').map((one) => `${one.meta.role} ${one.line.color}`)""")
    assert len({one.split()[1] for one in colours}) == 1, "a limit has the colour of its algorithm"
    assert {one.split()[0] for one in colours} >= {"regret", "limit"}
    expect(page.get_by_test_id("outcome-ipo")).to_contain_text("0.1525")
    expect(page.get_by_test_id("outcome-ipo")).to_contain_text("regresses every preference to one margin")

    slider = page.get_by_test_id("dial-beta").bounding_box()
    assert slider is not None
    y = slider["y"] + slider["height"] / 2
    page.mouse.move(slider["x"] + slider["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(slider["x"] + slider["width"] * 0.7, y, steps=8)
    # While the slider is held the curve has moved and the history is left alone.
    page.wait_for_function(f"(before) => ({LAST_REGRET})('copg') !== before", arg=paper)
    assert page.url == f"{studio.url}/bandit"
    page.mouse.up()
    page.wait_for_url("**/bandit?beta=*")
    beta = float(re.findall(r"beta=([\d.]+)$", page.url)[0])
    assert beta > 0.5
    drawn(page, f"beta={beta:g}")
    moved = page.evaluate(LAST_REGRET, "copg")
    assert moved == pytest.approx(end(studio.post("/bandit/figures", {"beta": beta}, status=200), "copg"))
    expect(page.get_by_test_id("number-beta")).to_have_value(f"{beta:g}")

    page.reload()
    drawn(page, f"beta={beta:g}")
    assert page.evaluate(LAST_REGRET, "copg") == pytest.approx(moved)
    page.go_back()
    drawn(page, "")
    assert page.evaluate(LAST_REGRET, "copg") == pytest.approx(paper)
    expect(page.get_by_test_id("number-beta")).to_have_value("0.5")


def test_sliders_of_a_distribution_move_together_and_by_keyboard(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/bandit?epochs=5")
    drawn(page, "epochs=5")
    page.get_by_test_id("dial-mu1-3").focus()
    page.keyboard.press("Home")
    page.wait_for_url("**mu1=*")
    assert page.url.endswith("?mu1=0.3333,0.6667,0&epochs=5")
    expect(page.get_by_test_id("number-mu1-1")).to_have_value("0.3333")
    drawn(page, "mu1=0.3333,0.6667,0&epochs=5")


def test_presets_scale_and_algorithms(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/bandit")
    page.get_by_test_id("preset-support").click()
    drawn(page, "mu1=0,0.3,0.7&mu2=0,0.1,0.9")
    expect(page.get_by_test_id("outcome-copg")).to_contain_text("No pair compares")
    page.get_by_text("Log", exact=True).click()
    page.get_by_test_id("algorithm-dpo").click()
    page.get_by_test_id("number-seeds").fill("3")
    drawn(page, "mu1=0,0.3,0.7&mu2=0,0.1,0.9&seeds=3&algorithms=copg,pg,pg_value,ipo,dpo&scale=log")
    expect(page.get_by_test_id("caption-regret")).to_contain_text("n = 3 seeds")
    expect(page.get_by_test_id("outcome-dpo")).to_contain_text("±")
    page.get_by_test_id("number-arms").fill("10")
    expect(page.get_by_test_id("figure-simplex")).to_contain_text("With three arms")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    header = download.value.path().read_text().splitlines()[0]
    assert header.endswith("policy_9,policy_10")


def test_a_wrong_number_is_shown_beside_its_control(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/bandit?epochs=5")
    drawn(page, "epochs=5")
    beta = page.get_by_test_id("number-beta")
    beta.fill("-1")
    expect(page.get_by_role("alert")).to_contain_text("greater than or equal to 0.000001")
    expect(beta).to_have_attribute("aria-invalid", "true")
    beta.fill("0.4")
    expect(page.get_by_role("alert")).to_have_count(0)
    drawn(page, "beta=0.4&epochs=5")
    page.get_by_test_id("number-epochs").fill("9999")
    expect(page.get_by_test_id("error-whole")).to_contain_text("fewer epochs")
    page.goto(f"{studio.url}/bandit?beta=-1")  # nothing was drawn before
    expect(page.get_by_role("alert")).to_contain_text("greater than or equal to 0.000001")
    expect(page.get_by_text("Drawn as soon as what is wrong is put right.").first).to_be_visible()
    expect(page.locator(".mantine-Skeleton-root")).to_have_count(0)


def test_a_share_that_is_typed_passes_over_one_without_losing_the_others(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/bandit?epochs=5&mu1=0.2,0.6,0.2")
    share = page.get_by_test_id("number-mu1-1")
    share.click()
    share.fill("1")
    expect(page.get_by_test_id("number-mu1-2")).to_have_value("0")
    share.fill("0.6")
    expect(page.get_by_test_id("number-mu1-2")).to_have_value("0.3")
    expect(page.get_by_test_id("number-mu1-3")).to_have_value("0.1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_keeps_the_curve_in_sight(studio: Studio, page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 780})
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{studio.url}/bandit?epochs=5")
    drawn(page, "epochs=5")
    expect_fitting(page)
    page.get_by_test_id("dial-mu1-1").scroll_into_view_if_needed()
    expect(page.get_by_test_id("figure-regret")).to_be_in_viewport()
