"""The page of a run: what waits to be deleted, its log, its samples, and addresses of what is not there."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import Studio

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]

TINY = {
    "algorithm": "sft", "policy": {"kind": "preset", "size": "nano"}, "batch_size": 8, "steps": 2,
    "data": {"kind": "task", "train_size": 32, "validation_size": 8},
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(studio: Studio) -> str:
    run = str(studio.post("/runs", {"name": "trained", "config": TINY})["id"])
    studio.wait_for(run, {"succeeded"}, 180)
    return run


def test_what_waits_to_be_deleted_offers_the_way_back_alone(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "mistake", "config": TINY})["id"]
    studio.post(f"/runs/{run}/cancel", status=200)
    studio.wait_for(run, {"cancelled"}, 60)
    page.goto(f"{studio.url}/runs/{run}")
    page.get_by_test_id("delete-button").click()
    page.get_by_test_id("confirm-button").click()
    page.wait_for_url("**/runs")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    with page.expect_response(re.compile("search=mistake")):
        page.keyboard.type("mistake")
    expect(page.get_by_role("option")).to_have_count(1)
    expect(page.get_by_role("option")).to_contain_text("Take back")
    page.keyboard.press("Escape")

    page.go_back()
    note = page.get_by_test_id("being-deleted")
    expect(note).to_contain_text("Deleted: mistake")
    for button in ("resume-button", "delete-button", "add-notes"):
        expect(page.get_by_test_id(button)).to_be_hidden()
    expect(page.get_by_role("link", name="Clone")).to_be_hidden()
    expect(page.get_by_role("button", name="Edit name, notes and tags")).to_be_hidden()
    assert serious_faults(page) == []
    note.get_by_role("button", name="Undo").click()
    expect(note).to_be_hidden()
    expect(page.get_by_test_id("delete-button")).to_be_visible()
    expect(page.locator("#page")).to_be_focused()
    assert studio.get(f"/runs/{run}")["name"] == "mistake"


def test_a_sweep_that_waits_to_be_deleted_offers_the_way_back_alone(studio: Studio, page: Page) -> None:
    sweep = studio.post("/sweeps", {"name": "seeds", "config": TINY, "grid": {"seed": [1, 2]}})["id"]
    studio.post(f"/sweeps/{sweep}/cancel", status=200)
    for one in studio.get(f"/sweeps/{sweep}/members")["items"]:
        studio.wait_for(one["run"]["id"], {"cancelled", "succeeded"}, 60)
    page.goto(f"{studio.url}/sweeps/{sweep}")
    row = page.get_by_test_id("members").locator("tbody tr").first
    expect(row.get_by_role("button")).to_be_visible()
    member = row.get_by_role("link").first
    page.get_by_test_id("delete-sweep").click()
    page.get_by_test_id("confirm-button").click()
    page.wait_for_url("**/sweeps")
    page.go_back()
    note = page.get_by_test_id("being-deleted")
    expect(note).to_contain_text("Deleted: seeds")
    expect(page.get_by_test_id("add-notes")).to_be_hidden()
    expect(page.get_by_role("button", name="Edit name, notes and early stop")).to_be_hidden()
    expect(row.get_by_role("button")).to_be_hidden()
    member.click()
    expect(note).to_contain_text("the sweep of this run")
    note.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="Clone")).to_be_visible()


def test_the_palette_shows_no_run_of_earlier_words(studio: Studio, trained: str, page: Page) -> None:
    def slow(route: Route) -> None:
        page.wait_for_timeout(600)
        route.continue_()

    page.goto(f"{studio.url}/runs/{trained}")
    expect(page.get_by_test_id("run-state")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("train")
    option = page.get_by_role("option", name=re.compile("^trained"))
    expect(option).to_be_visible()
    page.route("**/api/v1/runs?search=trainx*", slow)
    page.keyboard.type("x")
    expect(option).to_be_hidden(timeout=400)
    expect(page.get_by_text("Nothing fits these words.")).to_be_visible()
