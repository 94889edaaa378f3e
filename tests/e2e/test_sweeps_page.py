"""A small sweep in a real browser: typed, previewed, launched, finished while one looks, extended, accessible."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import Studio

pytestmark = pytest.mark.e2e
STACKS = ["services"]

TINY = {
    "algorithm": "copg",
    "policy": {"kind": "preset", "size": "nano"},
    "data": {"kind": "task", "train_size": 64, "validation_size": 16},
    "batch_size": 8,
    "steps": 4,
    "evaluation": {"every": 2, "prompts": 4, "generation": {"max_new_tokens": 4}},
}


@pytest.mark.timeout(600)
def test_a_sweep_from_the_page_to_its_end(studio: Studio, page: Page) -> None:
    origin = studio.post("/runs", {"config": TINY, "name": "tiny"})["id"]
    page.goto(f"{studio.url}/launch?algorithm=copg&from={origin}")
    page.get_by_test_id("launch-mode").get_by_text("Sweep").click()
    page.get_by_test_id("vary-values-0").fill("0.1, -1")
    expect(page.get_by_test_id("sweep-draft")).to_contain_text("Input should be greater than 0")
    page.get_by_test_id("vary-values-0").fill("log 0.1..10 x 2")
    expect(page.get_by_test_id("sweep-preview")).to_have_attribute("data-total", "2")
    page.get_by_label("Name").fill("two betas")
    page.get_by_test_id("launch-button").click()
    page.wait_for_url("**/sweeps/*")
    sweep = page.url.rpartition("/")[2]
    expect(page.get_by_test_id("members").locator("[data-run-id]")).to_have_count(2)
    expect(page.get_by_test_id("members")).to_contain_text("copg β=10")

    expect(page.get_by_test_id("sweep-state")).to_have_attribute("data-succeeded", "2", timeout=240_000)
    expect(page.get_by_test_id("best")).to_contain_text("copg β=")
    expect(page.get_by_test_id("figure-final_reward")).to_have_attribute("data-status", "shown")
    seen = studio.get(f"/sweeps/{sweep}")
    assert (seen["name"], seen["best"]["of"], seen["active"]) == ("two betas", 2, False)
    assert serious_faults(page) == []

    page.keyboard.press("Control+k")
    page.keyboard.type("extend")
    expect(page.get_by_role("option", name="Extend")).to_contain_text("This sweep")
    page.keyboard.press("Enter")
    page.get_by_test_id("extend-values").fill("10, 100")
    page.get_by_test_id("extend-button").click()
    expect(page.get_by_test_id("members").locator("[data-run-id]")).to_have_count(3)
    page.get_by_test_id("cancel-sweep").click()
    page.get_by_test_id("confirm-button").click()
    expect(page.get_by_test_id("sweep-state")).to_have_attribute("data-active", "false", timeout=60_000)
    page.get_by_test_id("delete-sweep").click()
    page.get_by_test_id("confirm-button").click()
    page.wait_for_url("**/sweeps")
    assert studio.get("/sweeps")["items"] == []
    assert [run["name"] for run in studio.get("/runs")["items"]] == ["tiny"]
