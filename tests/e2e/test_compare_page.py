"""The compare page does its job: from a sweep or a selection to figures and honest differences, by links that keep everything."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Response, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio
from tests.e2e.test_keyboard import perform
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
STACKS = ["services"]

BASE: dict[str, Any] = {
    "algorithm": "copg", "policy": {"kind": "preset", "size": "nano"}, "reward": {"kind": "gold"}, "batch_size": 8, "steps": 4,
    "data": {"kind": "task", "train_size": 48, "validation_size": 16},
    "evaluation": {"every": 2, "prompts": 8, "generation": {"max_new_tokens": 4}},
}  # fmt: skip


def test_a_sweep_is_compared_and_a_selection_too(studio: Studio, page: Page) -> None:
    made = studio.post("/sweeps", {"name": "to compare", "config": BASE, "grid": {"beta": [0.1, 1.0], "seed": [0, 1]}})
    runs = [one["run"]["id"] for one in studio.get(f"/sweeps/{made['id']}/members")["items"]]
    page.goto(f"{studio.url}/compare?sweep={made['id']}")
    expect(page.get_by_test_id("compared")).to_contain_text("4 runs in 2 groups")
    about = studio.get("/compare", sweep=made["id"])["about"]
    expect(page.get_by_role("radiogroup", name="Bands")).to_have_accessible_description(about["bands"])
    expect(page.get_by_role("slider", name="Smoothing").first).to_have_accessible_description(about["smoothing"])
    # Its runs end one after the other while one looks: nobody reloads the page.
    expect(page.get_by_test_id("compared")).to_have_attribute("data-active", "false", timeout=240_000)
    table = page.get_by_test_id("differences")
    first = table.locator("tbody tr").first
    expect(first).to_contain_text("over 2 seeds")
    expect(first).to_contain_text("n = 8 prompts")
    expect(page.get_by_test_id("method")).to_contain_text("Holm")
    for name in ("reward", "final", "frontier", "time", "cost"):
        expect(page.get_by_test_id(f"figure-compare-{name}")).to_have_attribute("data-status", "shown")

    page.get_by_role("combobox", name="Baseline").click()
    page.get_by_role("option", name="CoPG β = 0.1").click()
    expect(table.locator("tbody tr").nth(0)).to_contain_text("baseline")
    assert "baseline=" in page.url
    page.reload()
    expect(table.locator("tbody tr").nth(0)).to_contain_text("baseline")
    page.goto(f"{studio.url}/compare?sweep={made['id']}&baseline=gone&target=")
    expect(page.get_by_test_id("method")).to_contain_text("baseline of this link is not among these groups")
    expect(table.locator("tbody tr")).to_have_count(2)
    reached = page.get_by_test_id("figure-compare-time").get_by_label("Reward to reach")
    expect(reached).to_have_value("")
    reached.fill("-")
    reached.press("Enter")
    expect(reached).to_have_value("")
    assert "target=-" not in page.url
    page.get_by_role("slider", name="Smoothing").fill("6")
    reward = page.get_by_test_id("figure-compare-reward")
    plot = reward.locator(".js-plotly-plot")
    expect(reward).to_contain_text("smoothed (± 6), thin: measured")
    page.wait_for_function(  # what was measured stays visible
        """() => document.querySelector('[data-testid=figure-compare-reward] .js-plotly-plot').data
            .filter((trace) => trace.meta.role === 'measured').length === 2"""
    )
    entry = reward.get_by_role("button", name="CoPG β = 0.1")
    entry.press("Enter")
    expect(entry).to_have_attribute("aria-pressed", "false")
    page.wait_for_function(
        "document.querySelector('[data-testid=figure-compare-reward] .js-plotly-plot').data.some((trace) => trace.visible === false)"
    )
    hidden = "plot => [...new Set(plot.data.filter((trace) => trace.visible === false).map((trace) => trace.meta.role))].sort()"
    assert plot.evaluate(hidden) == ["band", "mean", "measured", "seed"], "an entry hides all that belongs to its curve"
    page.wait_for_url("**smoothing=6**")
    page.reload()
    expect(page.get_by_role("slider", name="Smoothing")).to_have_value("6")
    expect(reward).to_contain_text("smoothed (± 6), thin: measured")
    bands = page.get_by_role("radiogroup", name="Bands")
    bands.get_by_text("95 %").click()
    expect(reward).to_contain_text("95 % interval, n = 2 seeds")
    expect(page.get_by_test_id("figure-compare-final")).to_contain_text("95 % interval, n = 2 seeds")
    page.wait_for_url("**band=ci95**")
    page.reload()
    expect(bands.get_by_label("95 %")).to_be_checked()
    expect(reward).to_contain_text("95 % interval, n = 2 seeds")
    perform(page, "bands", "Bands: ± 1 s.e.", "This comparison")
    expect(bands.get_by_label("± 1 s.e.")).to_be_checked()
    perform(page, "baseline", "Baseline: CoPG β = 1", "This comparison")
    expect(table.locator("tbody tr").nth(1)).to_contain_text("baseline")
    target = page.get_by_test_id("figure-compare-cost").get_by_label("Reward to reach")
    target.fill("-50")
    target.press("Enter")
    expect(page.get_by_test_id("figure-compare-time").get_by_label("Reward to reach")).to_have_value("-50")
    expect(target).to_be_focused()
    expect(page.get_by_test_id("figure-compare-cost")).to_contain_text("of one run, without its parents")
    page.get_by_test_id("settings").locator("summary").click()
    expect(page.get_by_test_id("settings")).to_contain_text("Beta")

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            page.reload()
            expect(page.get_by_test_id("figure-compare-reward")).to_have_attribute("data-status", "shown")
            expect_fitting(page)
            assert serious_faults(page) == []

    page.goto(f"{studio.url}/runs?sweep={made['id']}")
    for run in (runs[0], runs[2]):
        page.locator(f"[data-run-id='{run}']").get_by_role("checkbox").check()
    page.get_by_test_id("compare-button").click()
    expect(page.get_by_test_id("compared")).to_contain_text("2 runs in 2 groups")
    assert page.url.count("run=") == 2


def test_each_algorithm_has_its_own_figure_of_betas(studio: Studio, page: Page) -> None:
    configs = [{**BASE, "algorithm": algorithm, "beta": beta} for algorithm in ("copg", "dpo") for beta in (0.1, 1.0)]
    runs = [studio.post("/runs", {"config": config})["id"] for config in configs]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/compare/figures/reward" in request.url else None)
    page.goto(f"{studio.url}/compare?{'&'.join(f'run={run}' for run in runs)}")
    for algorithm, name in (("copg", "CoPG"), ("dpo", "DPO")):
        figure = page.get_by_test_id(f"figure-compare-reward-{algorithm}")
        expect(figure).to_contain_text(f"Reward against step, {name}")
        expect(figure).to_have_attribute("data-status", "shown", timeout=240_000)
        expect(figure.get_by_role("list", name="Legend").get_by_role("listitem")).to_have_count(2, timeout=240_000)
    expect(page.get_by_test_id("figure-compare-reward")).to_have_count(0)
    assert all("algorithm=" in url for url in asked)
    assert {url for url in asked if "/points?" not in url} != set(asked), "they grow by their ends as any curve does"


def test_nothing_chosen_and_wrong_choices_are_said(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/compare")
    expect(page.get_by_test_id("compare-nothing")).to_contain_text("Choose runs")
    assert serious_faults(page) == []
    page.goto(f"{studio.url}/compare?run=nobody")
    expect(page.get_by_role("alert")).to_contain_text("there is no run 'nobody'")
    made = [
        studio.post("/runs", {"config": BASE | {"steps": 1}}),
        studio.post("/runs", {"config": {"algorithm": "reward_model", "steps": 1}, "name": "judge"}),
    ]
    page.goto(f"{studio.url}/compare?{'&'.join('run=' + run['id'] for run in made)}")
    expect(page.get_by_test_id("compared")).to_contain_text("1 run in 1 group")
    expect(page.get_by_test_id("left-out")).to_contain_text("Not compared: 'judge' is a reward model")
    assert serious_faults(page) == []


def test_a_growing_curve_asks_for_what_is_new_alone(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"config": {**BASE, "steps": 160}})["id"]
    page.goto(f"{studio.url}/compare?run={run}")
    figure = page.get_by_test_id("figure-compare-reward")
    expect(figure).to_have_attribute("data-status", "shown", timeout=120_000)
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer) if "/compare/figures/reward" in answer.url else None)
    expect(page.get_by_test_id("compared")).to_have_attribute("data-active", "false", timeout=240_000)
    plot = figure.locator(".js-plotly-plot")
    drawn = "plot => plot.data.find((trace) => trace.meta.role === 'mean').x.length"
    until(lambda: plot.evaluate(drawn) == 81, page=page)  # what came last is drawn within seconds
    assert answers
    told = [answer.json() for answer in answers]
    assert all("/points?" in answer.url for answer in answers)
    assert [one["reset"] for one in told] == [False] * len(told)
    once = {answer.url: one for answer, one in zip(answers, told, strict=True)}  # a slow answer is asked for again
    lengths = [len(end["arrays"]["x"]) for one in once.values() for end in one["traces"]]
    assert sum(lengths) < 3 * (81 + len(once))  # mean and both edges of the band: each new point once, the last again
