"""A small sweep in a real browser: typed, previewed, launched, finished while one looks, extended, edited, accessible."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio
from tests.waiting import until

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
    studio.post("/queue/pause", status=200)  # or it has ended before it is cancelled
    page.get_by_test_id("extend-values").fill("10, 100")
    page.get_by_test_id("extend-button").click()
    expect(page.get_by_test_id("members").locator("[data-run-id]")).to_have_count(3)
    page.get_by_test_id("cancel-sweep").click()
    page.get_by_test_id("confirm-button").click()
    expect(page.get_by_test_id("sweep-state")).to_have_attribute("data-active", "false", timeout=60_000)
    studio.post("/queue/resume", status=200)
    row = page.locator(f"[data-sweep-id='{sweep}']")
    for taken_back in (True, False):
        page.get_by_test_id("delete-sweep").click()
        page.get_by_test_id("confirm-button").click()
        page.wait_for_url("**/sweeps")
        expect(page.get_by_text("One question, many runs")).to_be_visible()
        expect(row).to_have_count(0)
        assert studio.get(f"/sweeps/{sweep}")["total"] == 3  # nothing has left the server
        page.get_by_role("link", name="Runs", exact=True).first.click()
        expect(page.locator("[data-run-id]")).to_have_count(1)  # its runs are hidden with it
        if taken_back:
            page.keyboard.press("u")
            expect(page.locator("[data-run-id]")).to_have_count(4)
            page.goto(f"{studio.url}/sweeps")
            row.get_by_role("link", name="two betas").click()
    page.get_by_role("alert").filter(has_text="Deleted: two betas").get_by_label("Close").click()
    until(lambda: studio.get("/sweeps")["items"] == [])
    expect(page.locator("[data-run-id]")).to_have_count(1)
    assert [run["name"] for run in studio.get("/runs")["items"]] == ["tiny"]


def elsewhere(studio: Studio, sweep: str, **fields: object) -> None:
    """Somebody else's edit."""
    assert httpx.patch(f"{studio.url}/api/v1/sweeps/{sweep}", json=fields, timeout=30).status_code == 200


def test_name_notes_and_early_stop_are_edited_and_two_who_do_lose_nothing(studio: Studio, page: Page) -> None:
    body = {"name": "betas", "config": TINY, "grid": {"beta": [0.1, 1]}, "gpus": 64}  # that nobody has: it stays queued
    sweep = studio.post("/sweeps", body)["id"]
    page.goto(f"{studio.url}/sweeps/{sweep}")
    page.get_by_test_id("add-notes").click()
    form = page.get_by_test_id("edit-sweep")
    notes, name = form.get_by_label("Notes"), form.get_by_label("Name")
    expect(notes).to_be_focused()
    notes.fill("line one\nline two")
    stop = form.get_by_label("Stop hopeless runs early")
    stop.focus()
    page.keyboard.press("Space")
    form.get_by_label("Error rate").fill("0.7")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_test_id("error-alpha")).to_contain_text("less than 0.5")
    expect(notes).to_have_value("line one\nline two")
    assert studio.get(f"/sweeps/{sweep}")["notes"] == ""
    form.get_by_label("Error rate").fill("0.01")
    page.keyboard.press("Control+Enter")
    expect(form).to_be_hidden()
    expect(page.get_by_test_id("notes")).to_have_text("line one\nline two")
    seen = studio.get(f"/sweeps/{sweep}")
    assert (seen["name"], seen["notes"], seen["early_stop"]["alpha"]) == ("betas", "line one\nline two", 0.01)
    pencil = page.get_by_role("button", name="Edit name, notes and early stop")
    expect(pencil).to_be_focused()

    page.keyboard.press("Enter")
    expect(name).to_be_focused()
    name.fill("mine")
    form.get_by_label("Margin").fill("0.5")
    elsewhere(studio, sweep, name="theirs", early_stop={"rule": "median"})
    page.keyboard.press("Control+Enter")
    conflict = page.get_by_test_id("edit-conflict")
    expect(conflict).to_contain_text("Somebody else changed the name and early stop while you wrote")
    expect(conflict).to_contain_text("Saving yours replaces their name and early stop")
    expect(conflict).to_contain_text("rule median")
    expect(name).to_have_value("mine")
    expect(form.get_by_label("Margin")).to_have_value("0.5")
    assert studio.get(f"/sweeps/{sweep}")["name"] == "theirs"
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            expect_fitting(page)
            assert form.evaluate("form => form.scrollWidth <= form.clientWidth")
            margin = "input => input.clientWidth - parseFloat(getComputedStyle(input).paddingRight)"
            assert form.get_by_label("Margin").evaluate(margin) > 60  # its unit leaves room for the number
            assert serious_faults(page) == []
    form.get_by_role("button", name="Save mine over it").click()
    expect(form).to_be_hidden()
    seen = studio.get(f"/sweeps/{sweep}")
    assert (seen["name"], seen["early_stop"]["rule"], seen["early_stop"]["margin"]) == ("mine", "paired", 0.5)

    pencil.click()
    notes.fill("only mine")
    studio.post(f"/sweeps/{sweep}/extend", {"grid": {"beta": [2]}}, status=200)
    form.get_by_role("button", name="Save", exact=True).click()
    expect(form).to_be_hidden()  # an extension touches nobody's text
    assert studio.get(f"/sweeps/{sweep}")["notes"] == "only mine"

    pencil.click()
    stop.uncheck(force=True)
    elsewhere(studio, sweep, notes="theirs again")
    form.get_by_role("button", name="Save", exact=True).click()
    form.get_by_role("button", name="Take theirs").click()
    expect(notes).to_have_value("theirs again")
    expect(stop).not_to_be_checked()
    form.get_by_role("button", name="Save", exact=True).click()
    expect(form).to_be_hidden()
    seen = studio.get(f"/sweeps/{sweep}")
    assert (seen["notes"], seen["early_stop"]) == ("theirs again", None)
    assert httpx.delete(f"{studio.url}/api/v1/sweeps/{sweep}", timeout=30).status_code == 204


def test_a_sweep_that_is_deleted_meanwhile_takes_no_typed_text_with_it(studio: Studio, page: Page) -> None:
    body = {"name": "theirs to delete", "config": TINY, "grid": {"beta": [0.1, 1]}, "gpus": 64}
    sweeps = [studio.post("/sweeps", body)["id"] for _ in range(2)]
    page.goto(f"{studio.url}/sweeps/{sweeps[0]}")
    expect(page.get_by_test_id("live")).to_have_attribute("data-connected", "true")
    expect(page.get_by_test_id("members").locator("[data-run-id]")).to_have_count(2)
    page.get_by_test_id("add-notes").click()
    notes = page.get_by_test_id("edit-sweep").get_by_label("Notes")
    notes.fill("what took an hour")
    assert httpx.delete(f"{studio.url}/api/v1/sweeps/{sweeps[0]}", timeout=30).status_code == 204
    told = page.get_by_role("alert").filter(has_text="This sweep cannot be shown")
    expect(told).to_contain_text("can be saved no more")
    expect(notes).to_have_value("what took an hour")
    expect(notes).to_be_focused()
    assert serious_faults(page) == []
    told.get_by_role("link", name="All sweeps").click()
    page.get_by_test_id("confirm-leave").click()

    page.locator(f"[data-sweep-id='{sweeps[1]}']").get_by_role("link").click()
    expect(page.get_by_test_id("members").locator("[data-run-id]")).to_have_count(2)
    page.get_by_test_id("extend-sweep").click()
    values = page.get_by_test_id("extend-values")
    values.fill("log 0.003..0.3 x 6")
    page.go_back()
    question = page.get_by_role("dialog", name="Leave without saving?")
    expect(question).to_be_visible()
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    page.keyboard.press("Escape")  # takes nothing that was typed
    expect(values).to_have_value("log 0.003..0.3 x 6")
    assert httpx.delete(f"{studio.url}/api/v1/sweeps/{sweeps[1]}", timeout=30).status_code == 204
    dialog = page.get_by_role("dialog", name="Extend the sweep")
    expect(dialog.get_by_role("alert")).to_contain_text("cannot be extended any more")
    expect(values).to_have_value("log 0.003..0.3 x 6")
    assert serious_faults(page) == []
    dialog.get_by_role("button", name="Keep it as it is").click()
    page.get_by_role("link", name="All sweeps").click()  # and nobody asks
    page.wait_for_url("**/sweeps")


def test_the_runs_table_names_pipelines_however_old(studio: Studio, page: Page) -> None:
    step = {"alias": "a", "config": {**TINY, "algorithm": "sft"}}
    first = studio.post("/pipelines", {"name": "the oldest of many", "steps": [step]})
    [run] = [one["id"] for one in first["runs"]]
    held: list[str] = []

    def short(route: Route) -> None:
        """The API's pages, as if each held a single pipeline."""
        held.append(route.request.url)
        route.continue_(url=re.sub(r"limit=\d+", "limit=1", route.request.url))

    studio.post("/pipelines", {"name": "a newer one", "steps": [step]})
    page.route("**/api/v1/pipelines?*", short)
    page.goto(f"{studio.url}/runs?pipeline={first['id']}")
    expect(page.locator(f"[data-run-id='{run}']")).to_contain_text("the oldest of many")
    assert len(held) >= 2
    for one in studio.get("/runs")["items"]:
        httpx.post(f"{studio.url}/api/v1/runs/{one['id']}/cancel", timeout=30)
