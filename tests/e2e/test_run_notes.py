"""Name, notes and tags on the page of a run, also where somebody else edits them meanwhile; tags filter the table."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import TINY, Studio

pytestmark = pytest.mark.e2e
STACKS = ["services"]


def elsewhere(studio: Studio, run: str, **fields: object) -> None:
    """Somebody else's edit."""
    assert httpx.patch(f"{studio.url}/api/v1/runs/{run}", json=fields, timeout=30).status_code == 200


def test_two_who_edit_at_once_lose_nothing(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "first", "config": TINY})["id"]
    other = studio.post("/runs", {"name": "untagged", "config": TINY})["id"]
    page.goto(f"{studio.url}/runs/{run}")
    page.get_by_test_id("add-notes").click()
    form = page.get_by_test_id("edit-run")
    notes = form.get_by_label("Notes")
    expect(notes).to_be_focused()
    notes.fill("line one\nline two")
    form.get_by_label("Tags").fill("paper")
    page.keyboard.press("Control+Enter")
    expect(form).to_be_hidden()
    expect(page.get_by_test_id("notes")).to_have_text("line one\nline two")
    seen = studio.get(f"/runs/{run}")
    assert (seen["name"], seen["notes"], seen["tags"]) == ("first", "line one\nline two", ["paper"])
    pencil = page.get_by_role("button", name="Edit name, notes and tags")
    expect(pencil).to_be_focused()

    page.keyboard.press("Enter")
    notes.fill("mine")
    elsewhere(studio, run, notes="theirs", tags=["paper", "tuned"])
    form.get_by_role("button", name="Save", exact=True).click()
    conflict = page.get_by_test_id("edit-conflict")
    expect(conflict).to_contain_text("Somebody else changed the notes and tags")
    expect(conflict).to_contain_text("theirs")
    expect(notes).to_have_value("mine")
    assert studio.get(f"/runs/{run}")["notes"] == "theirs"
    assert serious_faults(page) == []
    form.get_by_role("button", name="Save mine over it").click()
    expect(form).to_be_hidden()
    seen = studio.get(f"/runs/{run}")
    assert (seen["notes"], seen["tags"]) == ("mine", ["paper", "tuned"])  # what was not edited here stays theirs

    pencil.click()
    notes.fill("mine again")
    elsewhere(studio, run, notes="theirs again")
    form.get_by_role("button", name="Save", exact=True).click()
    form.get_by_role("button", name="Take theirs").click()
    expect(page.get_by_test_id("notes")).to_have_text("theirs again")
    assert studio.get(f"/runs/{run}")["notes"] == "theirs again"

    page.goto(f"{studio.url}/runs")
    expect(page.locator(f"[data-run-id='{other}']")).to_be_visible()
    page.locator(f"[data-run-id='{run}']").get_by_role("button", name="tuned").click()
    expect(page.locator(f"[data-run-id='{other}']")).to_be_hidden()
    expect(page.locator(f"[data-run-id='{run}']")).to_be_visible()
    assert page.url.endswith("?tag=tuned")
    assert serious_faults(page) == []


def test_a_run_that_is_deleted_meanwhile_takes_no_words(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "theirs to delete", "config": TINY, "gpus": 64})["id"]  # it stays queued
    page.goto(f"{studio.url}/runs/{run}")
    expect(page.get_by_test_id("live")).to_have_attribute("data-connected", "true")
    page.get_by_test_id("add-notes").click()
    notes = page.get_by_test_id("edit-run").get_by_label("Notes")
    notes.fill("what took an hour")
    assert httpx.delete(f"{studio.url}/api/v1/runs/{run}", timeout=30).status_code < 300
    told = page.get_by_role("alert").filter(has_text="This run cannot be shown")
    expect(told).to_contain_text("can be saved no more")
    expect(notes).to_have_value("what took an hour")
    expect(notes).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert").filter(has_text="It was not saved")).to_be_visible()
    expect(notes).to_have_value("what took an hour")
    page.get_by_test_id("edit-run").get_by_role("button", name="Cancel").click()
    expect(notes).to_have_count(0)
    expect(told).not_to_contain_text("saved no more")


def test_a_lost_login_takes_no_words_and_none_are_typed_into_what_is_being_saved(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "kept", "config": TINY})["id"]
    held: list[Route] = []
    page.route(
        "**/api/v1/runs/*", lambda route: held.append(route) if route.request.method == "PATCH" else route.continue_()
    )
    page.goto(f"{studio.url}/runs/{run}")
    page.get_by_test_id("add-notes").click()
    form = page.get_by_test_id("edit-run")
    notes = form.get_by_label("Notes")
    notes.fill("one")
    with page.expect_request(lambda request: request.method == "PATCH"):
        page.keyboard.press("Control+Enter")
    notes.press_sequentially(" two")
    expect(notes).to_have_value("one")
    held[0].fulfill(status=401, content_type="application/problem+json", body='{"status": 401, "detail": "Log in."}')
    notice = page.get_by_role("alert").filter(has_text="You were logged out")
    expect(notice).to_contain_text("then save again")
    expect(notes).to_have_value("one")
    assert serious_faults(page) == []
    page.unroute_all()
    notes.press_sequentially(" two")
    form.get_by_role("button", name="Save", exact=True).click()
    expect(form).to_be_hidden()
    expect(notice).to_have_count(0)
    assert studio.get(f"/runs/{run}")["notes"] == "one two"
