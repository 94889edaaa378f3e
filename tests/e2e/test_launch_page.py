"""The launch form in a real browser: it shows what is sent, keeps what was typed, and launches once."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]
TINY: dict[str, Any] = {
    "algorithm": "copg", "policy": {"kind": "preset", "size": "nano"}, "batch_size": 8, "steps": 2, "reward": {"kind": "gold"},
    "data": {"kind": "task", "train_size": 32, "validation_size": 8},
}  # fmt: skip


def queued(studio: Studio, name: str) -> str:
    """A run that waits for GPUs that nobody has."""
    return str(studio.post("/runs", {"name": name, "config": TINY, "gpus": 64})["id"])


def test_a_run_that_is_deleted_meanwhile_takes_no_typed_text_with_it(studio: Studio, page: Page) -> None:
    origin = queued(studio, "the origin")
    page.goto(f"{studio.url}/launch?from={origin}")
    beta = page.get_by_label("Beta", exact=True)
    beta.fill("0.123")
    name = page.get_by_label("Name", exact=True)
    name.fill("mine")
    expect(page.get_by_test_id("live")).to_have_attribute("data-connected", "true")
    assert httpx.delete(f"{studio.url}/api/v1/runs/{origin}", timeout=30).status_code < 300
    expect(page.get_by_role("alert").filter(has_text="The run to clone cannot be read")).to_be_visible()
    expect(beta).to_have_value("0.123")
    expect(name).to_have_value("mine")
    expect(page.get_by_label("Batch size", exact=True)).to_have_value("8")  # the clone’s, not the paper’s


def uploaded(studio: Studio, name: str) -> str:
    rows = "".join(json.dumps({"prompt": f"{name} {i}", "chosen": "good", "rejected": "bad"}) + "\n" for i in range(9))
    sent = httpx.post(
        f"{studio.url}/api/v1/datasets/upload", params={"filename": f"{name}.jsonl"}, content=rows, timeout=60
    )
    assert sent.status_code == 201, sent.text
    return str(sent.json()["id"])


def test_the_form_shows_what_it_sends(studio: Studio, page: Page) -> None:
    uploaded(studio, "first")
    page.goto(f"{studio.url}/launch?data={uploaded(studio, 'second')}")
    steps = page.get_by_label("Steps", exact=True)
    steps.fill("2,000")
    page.get_by_test_id("launch-button").click()
    expect(page.get_by_test_id("error-steps")).to_contain_text("valid integer")
    expect(steps).to_have_value("2,000")

    where = page.get_by_label("Training rows", exact=True)
    where.fill('{"split": ["train"]}')
    page.get_by_test_id("registered").click()
    page.get_by_role("option", name="first.jsonl").click()
    expect(where).to_have_value("")
    page.get_by_text("Configuration as JSON").click()
    expect(page.locator("pre.json")).not_to_contain_text("split")


def test_an_estimate_and_a_preview_stay_where_they_cannot_be_asked_for_again(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/launch?data={uploaded(studio, 'looked at')}&mode=sweep")
    estimate, late = page.get_by_test_id("estimate"), page.get_by_test_id("estimate").get_by_test_id("late")
    page.get_by_test_id("preview-button").click()
    rows = page.get_by_test_id("preview").get_by_role("row")
    expect(rows).to_have_count(6)
    page.get_by_test_id("vary-values-0").fill("0.1, 1")
    runs = page.get_by_test_id("sweep-preview")
    expect(runs).to_have_attribute("data-total", "2")
    verdict = page.get_by_test_id("verdict")
    expect(verdict).to_be_visible()
    expect(late).to_have_count(0)

    for address in ("runs/estimate", "datasets/preview", "sweeps/preview"):
        page.route(f"**/api/v1/{address}", lambda route: route.fulfill(status=503))
    expect(late).to_contain_text("Not up to date: The server answered 503.")
    expect(verdict).to_be_visible()
    page.get_by_test_id("preview-button").click()
    expect(page.get_by_test_id("preview-error")).to_contain_text("these rows were read before")
    expect(rows).to_have_count(6)
    steps = page.get_by_label("Steps", exact=True)
    steps.fill("77")  # of these settings nothing is known
    expect(late).to_contain_text("the estimate of earlier settings")
    expect(verdict).to_be_visible()
    draft = page.get_by_test_id("sweep-draft")
    expect(draft.get_by_role("alert")).to_contain_text("the runs of earlier settings")
    expect(runs).to_have_attribute("data-total", "2")
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 360, "height": 900})
    expect_fitting(page)
    said: list[str] = page.evaluate(
        """() => new Promise(done => {
            const said = new Set(), look = () => said.add(document.querySelector('[data-testid=late]')?.textContent)
            const timer = setInterval(look, 20)
            setTimeout(() => { clearInterval(timer); done([...said]) }, 6000)
        })"""
    )
    assert len(said) == 1, "it is asked for again meanwhile, and nothing flickers"

    page.unroute_all()
    expect(late).to_have_count(0)
    page.get_by_test_id("preview-button").click()
    expect(page.get_by_test_id("preview-error")).to_have_count(0)
    page.route("**/api/v1/datasets/preview", lambda route: route.fulfill(status=503))
    page.get_by_label("Training rows", exact=True).first.fill("train")
    expect(rows).to_have_count(0)  # they were of another source
    steps.fill("-1")
    expect(estimate).to_contain_text("when the fields that are marked are corrected")
    expect(verdict).to_have_count(0)


def leave(page: Page, link: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name=link, exact=True).click()


def test_leaving_asks_where_something_was_typed_and_only_there(studio: Studio, page: Page) -> None:
    origin = queued(studio, "left")
    page.goto(f"{studio.url}/runs/{origin}")
    page.get_by_role("link", name="Clone", exact=True).click()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_be_visible()
    leave(page, "Data")
    page.wait_for_url("**/data")
    page.go_back()
    name.fill("mine")
    page.get_by_test_id("launch-mode").get_by_text("Sweep").click()  # in the address, and nothing is lost
    page.wait_for_url("**mode=sweep")
    page.get_by_test_id("launch-mode").get_by_text("One run").click()
    question = page.get_by_role("dialog", name="Leave without saving?")
    expect(question).to_have_count(0)
    for go in (
        lambda: leave(page, "Data"),
        lambda: leave(page, "Launch"),
        page.go_back,
    ):  # the second begins a new form
        go()
        expect(question).to_be_visible()
        assert serious_faults(page) == []
        question.get_by_role("button", name="Stay").click()
        expect(question).to_have_count(0)
        expect(name).to_have_value("mine")
        assert f"from={origin}" in page.url
    closing = page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))")
    assert closing is False  # the browser asks
    page.get_by_test_id("launch-button").click()
    page.wait_for_url("**/runs/*")  # what was launched is not lost
    run = page.url.rpartition("/")[2]
    launched = studio.get(f"/runs/{run}")
    assert (launched["name"], launched["gpus"]) == ("mine", 64)  # a clone asks for what its origin asked

    page.get_by_test_id("add-notes").click()
    page.get_by_test_id("edit-run").get_by_label("Notes").fill("a thought")
    page.get_by_test_id("tab-log").click()
    page.wait_for_url("**/log")
    leave(page, "Runs")
    page.get_by_test_id("confirm-leave").click()
    page.wait_for_url(f"{studio.url}/runs")
    assert studio.get(f"/runs/{run}")["notes"] == ""
    studio.post(f"/runs/{run}/cancel", status=200)


def test_an_answer_that_is_lost_launches_once(studio: Studio, page: Page) -> None:
    origin = queued(studio, "to launch once")
    page.goto(f"{studio.url}/launch?from={origin}")
    page.get_by_label("Name", exact=True).fill("launched once")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/api/v1/runs", lambda route: lose(route) if route.request.method == "POST" else route.continue_())
    page.get_by_test_id("launch-button").click()
    failure = page.locator("#form-problem").get_by_role("alert")
    expect(failure).to_contain_text("No answer came")
    expect(failure).to_contain_text("the same once more does nothing twice")
    page.unroute_all()
    page.get_by_test_id("launch-button").click()
    page.wait_for_url("**/runs/*")
    mine = [run["id"] for run in studio.get("/runs")["items"] if run["name"] == "launched once"]
    assert mine == [page.url.rpartition("/")[2]]
    studio.post(f"/runs/{mine[0]}/cancel", status=200)


def test_gpus_that_no_worker_has_are_told_while_the_form_is_filled_in(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/launch")
    expect(page.get_by_test_id("verdict")).to_be_visible()
    obstacle = page.get_by_test_id("obstacle")
    expect(obstacle).to_have_count(0)
    page.get_by_text("Advanced: GPUs, priority, time limit").click()
    page.get_by_label("GPUs", exact=True).fill("64")
    expect(obstacle).to_contain_text("No worker could take it: waits for 64 GPUs; the largest worker has ")
    assert serious_faults(page) == []
    page.set_viewport_size({"width": 360, "height": 900})
    expect_fitting(page)
    page.get_by_label("GPUs", exact=True).fill("")
    expect(obstacle).to_have_count(0)
