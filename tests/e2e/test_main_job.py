"""The main job in a real browser: one button, three runs, a reward that rises while one looks."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Studio
from tests.waiting import until

pytestmark = pytest.mark.e2e
STACKS = ["embedded", "services"]

POINTS_DRAWN = """() => {
  const plot = document.querySelector('[data-testid="figure-reward"] .js-plotly-plot');
  return plot ? Math.max(0, ...plot.data.map((trace) => trace.x ? trace.x.length : 0)) : 0;
}"""
LONG_RUN: dict[str, Any] = {
    "algorithm": "sft",
    "policy": {"kind": "preset", "size": "nano"},
    "data": {"kind": "task", "train_size": 2000, "validation_size": 64},
    "batch_size": 32,
    "steps": 100_000,
    "evaluation": {"every": 20, "prompts": 8, "generation": {"max_new_tokens": 16}},
    "checkpoints": {"every": 50},
}


@pytest.mark.timeout(900)  # three trainings, on whatever machine this is
def test_paper_in_miniature_from_one_button(studio: Studio, page: Page) -> None:
    page.goto(studio.url)
    page.get_by_test_id("miniature-ci").click()
    page.wait_for_url("**/runs?pipeline=*")
    expect(page.locator("[data-run-id]")).to_have_count(3)
    pipeline = studio.get("/pipelines")["items"][0]
    runs = {run["algorithm"]: run["id"] for run in pipeline["runs"]}
    assert set(runs) == {"sft", "reward_model", "copg"}

    studio.wait_for(runs["reward_model"], {"running", "succeeded"}, seconds=240)
    page.locator(f"[data-run-id='{runs['copg']}']").get_by_role("link").first.click()
    page.wait_for_url(f"**/runs/{runs['copg']}*")
    page.evaluate("window.neverReloaded = true")
    studio.wait_for(runs["copg"], {"running", "succeeded"}, seconds=240)

    page.wait_for_function(f"({POINTS_DRAWN})() >= 2", timeout=240_000)
    seen = page.evaluate(POINTS_DRAWN)
    page.wait_for_function(f"({POINTS_DRAWN})() > {seen}", timeout=240_000)
    studio.wait_for(runs["copg"], {"succeeded"}, seconds=240)
    expect(page.get_by_test_id("run-state")).to_have_attribute("data-state", "succeeded")
    evaluations = studio.get(f"/runs/{runs['copg']}/evaluations")["items"]
    page.wait_for_function(f"({POINTS_DRAWN})() >= {len(evaluations)}")
    assert page.evaluate("window.neverReloaded") is True

    reference, last = evaluations[0], evaluations[-1]
    noise = (reference["reward_stderr"] ** 2 + last["reward_stderr"] ** 2) ** 0.5
    assert last["reward_mean"] - reference["reward_mean"] > 2 * noise
    assert last["gold_mean"] is not None

    page.goto(f"{studio.url}/runs/{runs['copg']}/samples?step={last['step']}")
    table = page.get_by_test_id("samples-table")
    first = studio.get(f"/runs/{runs['copg']}/samples", step=last["step"])["items"][0]
    expect(table).to_contain_text(first["completion"].strip()[:20])


def _until_step(studio: Studio, run: str, step: int) -> None:
    deadline = time.monotonic() + 120
    while studio.get(f"/runs/{run}")["step"] < step:
        assert time.monotonic() < deadline, f"run {run} does not reach step {step}"
        time.sleep(0.1)


def test_a_run_is_cancelled_resumed_cloned_and_deleted(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"config": LONG_RUN})["id"]
    page.goto(f"{studio.url}/runs/{run}")
    state = page.get_by_test_id("run-state")
    _until_step(studio, run, 5)
    page.get_by_test_id("cancel-button").click()
    page.get_by_test_id("confirm-button").click()
    # The bar of the main job: stopped within five seconds of being asked.
    expect(state).to_have_attribute("data-state", "cancelled", timeout=5_000)
    stopped = studio.get(f"/runs/{run}")
    assert 0 < stopped["step"] < 100_000
    assert stopped["checkpoint_step"] == stopped["step"]
    assert studio.get(f"/runs/{run}/curves", names="loss")["last_step"] == stopped["step"]

    page.get_by_test_id("resume-button").click()
    expect(state).to_have_attribute("data-state", "running", timeout=60_000)
    _until_step(studio, run, stopped["step"] + 2)
    losses = studio.get(f"/runs/{run}/curves", names="loss", max_points=10_000)["series"]["loss"]["steps"]
    assert losses == list(range(1, losses[-1] + 1))
    page.get_by_test_id("cancel-button").click()
    page.get_by_test_id("confirm-button").click()
    expect(state).to_have_attribute("data-state", "cancelled", timeout=5_000)

    page.get_by_role("link", name="Clone").or_(page.get_by_role("button", name="Clone")).first.click()
    page.wait_for_url(f"**/launch?algorithm=sft&from={run}")
    expect(page.locator("#field-steps")).to_have_value("100000")

    row = page.locator(f"[data-run-id='{run}']")
    for taken_back in (True, False):
        page.goto(f"{studio.url}/runs/{run}")
        page.get_by_test_id("delete-button").click()
        page.get_by_test_id("confirm-button").click()
        page.wait_for_url("**/runs*")
        expect(row).to_have_count(0)
        if taken_back:
            page.get_by_role("button", name="Undo").click()
            expect(row).to_have_count(1)
            assert (studio.data_dir / "runs" / run).exists()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0, timeout=40_000)  # its time is up
    expect(row).to_have_count(0)
    until(lambda: not (studio.data_dir / "runs" / run).exists())


def test_a_page_that_is_closed_still_deletes(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"config": LONG_RUN})["id"]
    studio.post(f"/runs/{run}/cancel", status=200)
    studio.wait_for(run, {"cancelled"}, 60)
    page.goto(f"{studio.url}/runs/{run}")
    page.get_by_test_id("delete-button").click()
    page.get_by_test_id("confirm-button").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.goto("about:blank")
    until(lambda: run not in {one["id"] for one in studio.get("/runs")["items"]})


def test_a_wrong_field_is_shown_where_it_is(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/launch?algorithm=copg")
    beta = page.locator("#field-beta")
    beta.fill("-1")
    page.get_by_test_id("launch-button").click()
    expect(page.get_by_test_id("error-beta")).to_contain_text("greater than 0")
    expect(beta).to_be_focused()
    assert not [run for run in studio.get("/runs")["items"] if run["beta"] == -1]


@pytest.mark.parametrize("path", ["/runs", "/launch", "/system", "/nowhere"])
def test_deep_links_open_by_themselves(studio: Studio, page: Page, path: str) -> None:
    answer = page.goto(f"{studio.url}{path}")
    assert answer is not None
    assert answer.status == 200
    expect(page.get_by_role("navigation").first).to_be_visible()


def test_the_form_says_what_a_run_takes(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/launch?algorithm=sft")
    estimate = page.get_by_test_id("estimate")
    expect(page.get_by_test_id("verdict")).to_be_visible()
    page.locator("[data-section=policy]").get_by_text("Hub model").first.click()
    model = page.locator("#field-policy-id")
    model.fill("meta-llama/Llama-2-13b-hf")
    expect(estimate).to_contain_text("104.1 GB")  # 8 bytes of moments for each of 13.0 billion parameters
    model.fill("nobody/nothing")
    expect(estimate).to_contain_text("nobody/nothing is not on this machine")
    logged: list[str] = []
    page.on("console", lambda said: logged.append(said.text) if said.type == "error" else None)
    page.get_by_label("Batch size").fill("-1")
    expect(estimate).to_contain_text("when the fields that are marked are corrected")
    assert logged == [], "a form that is not finished is no failure of the page"
