"""The samples page does its job: what two steps and two runs wrote for the same prompts, sorted, kept and marked, by a link."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio
from tests.e2e.test_keyboard import perform

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
STACKS = ["services"]

CONFIG: dict[str, Any] = {
    "algorithm": "copg", "policy": {"kind": "preset", "size": "nano"}, "reward": {"kind": "function", "name": "length", "options": {"target": 3}},
    "batch_size": 8, "steps": 4, "data": {"kind": "task", "train_size": 48, "validation_size": 48},
    "evaluation": {"every": 2, "prompts": 24, "generation": {"max_new_tokens": 6}},
}  # fmt: skip


def test_completions_stand_side_by_side(studio: Studio, page: Page) -> None:
    runs = [
        studio.post("/runs", {"name": f"beta {beta}", "config": {**CONFIG, "beta": beta, "optimizer": {"learning_rate": 0.01}}})["id"]
        for beta in (0.1, 1.0)
    ]  # fmt: skip
    page.goto(f"{studio.url}/samples?column={runs[0]}@first&column={runs[0]}@last")
    # The run begins while one looks: nobody reloads the page.
    rows = page.get_by_test_id("samples-rows").get_by_role("listitem")
    expect(rows).to_have_count(20, timeout=180_000)
    for run in runs:
        studio.wait_for(run, {"succeeded"}, 180)
    expect(page.get_by_test_id("samples-column").nth(1)).to_contain_text("mean reward")
    expect(page.get_by_text("step 4").first).to_be_visible()
    for name in ("reward", "length"):
        expect(page.get_by_test_id(f"figure-samples-{name}")).to_have_attribute("data-status", "shown")
    for form, begins in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Rewards as {form}", exact=True).click()
        assert download.value.path().read_bytes().startswith(begins)
    page.get_by_role("button", name="More prompts").click()
    expect(rows).to_have_count(24)

    page.get_by_role("combobox", name="Add a run").fill("beta 1")
    page.get_by_role("option", name=re.compile("^beta 1")).click()
    expect(page.get_by_test_id("samples-column")).to_have_count(3)
    page.get_by_role("combobox", name="Sort").click()
    page.get_by_role("option", name="Largest gain first").click()
    page.get_by_role("combobox", name="Show").click()
    page.get_by_role("option", name=re.compile(r"^Did not end \(\d+\)")).click()
    expect(page).to_have_url(re.compile(r"sort=gain.*only=unfinished|only=unfinished.*sort=gain"))
    kept = page.get_by_test_id("prompts-shown").inner_text()
    page.reload()
    expect(page.get_by_test_id("prompts-shown")).to_have_text(kept)
    perform(page, "sort loss", "Sort: Largest loss first", "These samples")
    expect(page.get_by_role("combobox", name="Sort")).to_have_value("Largest loss first")
    page.get_by_role("combobox", name="Step of column 3").click()
    page.get_by_role("option", name="2", exact=True).click()
    expect(page).to_have_url(re.compile(f"{runs[1]}(@|%40)2"))
    page.get_by_role("button", name="Remove column 2").click()
    expect(page.get_by_test_id("samples-column")).to_have_count(2)

    page.goto(f"{studio.url}/samples?column={runs[0]}@last&focus=-1")  # what no column is called counts for nothing
    page.get_by_role("button", name="Steps of the whole run").click()
    expect(page.get_by_test_id("samples-column")).to_have_count(3)  # before training, and both evaluations
    expect(page).to_have_url(re.compile(r"(@|%40)0&.*(@|%40)2&.*(@|%40)4$"))
    expect(page.get_by_role("button", name="Steps of the whole run")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("button", name="Steps of the whole run")).to_be_focused()

    page.goto(f"{studio.url}/runs/{runs[0]}/samples")
    page.get_by_role("link", name="Side by side").click()
    expect(rows).to_have_count(20)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            page.reload()
            expect(page.get_by_test_id("figure-samples-length")).to_have_attribute("data-status", "shown")
            expect(rows).to_have_count(20)
            tops = rows.first.locator(".cell").evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
            assert len(tops) == 2
            assert tops[0] == tops[1], "on a phone they are swiped, not stacked"
            expect_fitting(page)
            assert serious_faults(page) == []


def test_nothing_chosen_and_wrong_choices_are_said(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/samples")
    expect(page.get_by_test_id("samples-nothing")).to_contain_text("side by side")
    page.goto(f"{studio.url}/samples?column=nobody@last")
    expect(page.get_by_role("alert")).to_contain_text("there is no run 'nobody'")
