"""The page of a run: what waits to be deleted, its log, its samples, and addresses of what is not there."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import TINY, Studio, make_lasting
from tests.waiting import until

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]


@pytest.fixture(scope="module")
def trained(studio: Studio) -> str:
    run = str(studio.post("/runs", {"name": "trained", "config": TINY})["id"])
    studio.wait_for(run, {"succeeded"}, 180)
    return run


def test_what_waits_to_be_deleted_offers_the_way_back_alone(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "mistake", "config": TINY})["id"]
    studio.post(f"/runs/{run}/cancel", status=200)
    studio.wait_for(run, {"cancelled"}, 60)
    make_lasting(page, 20_000)
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
    make_lasting(page, 20_000)
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
    held: list[Route] = []
    page.goto(f"{studio.url}/runs/{trained}")
    expect(page.get_by_test_id("run-state")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("train")
    option = page.get_by_role("option", name=re.compile("^trained"))
    expect(option).to_be_visible()
    page.route("**/api/v1/runs?search=trainx*", lambda route: held.append(route))
    with page.expect_request("**/api/v1/runs?search=trainx*"):
        page.keyboard.type("x")
    expect(option).to_be_hidden()  # before anything is answered
    held[0].continue_()
    expect(page.get_by_text("Nothing fits these words.")).to_be_visible()


def test_the_log_goes_on_where_it_was_and_follows_only_whoever_is_at_its_end(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "long", "config": TINY | {"steps": 100_000}})["id"]
    studio.wait_for(run, {"running"}, 60)
    asked: list[str] = []
    lines = "".join(f"line {number}\n" for number in range(400))

    def answer(route: Route) -> None:
        offset = re.search(r"offset=(\d+)", route.request.url)
        asked.append(offset[1] if offset else "tail")
        text = "one more line\n" if offset else lines
        begin = int(offset[1]) if offset else 0
        end = begin + len(text)
        route.fulfill(json={"text": text, "offset": begin, "next_offset": end, "size": end})

    page.route(f"**/api/v1/runs/{run}/log?*", answer)
    page.goto(f"{studio.url}/runs/{run}/log")
    log = page.get_by_test_id("log")
    follow = page.get_by_role("switch", name="Follow the end")
    expect(log).to_contain_text("one more line")
    expect(follow).to_be_checked()
    log.focus()
    page.keyboard.press("PageUp")
    expect(follow).not_to_be_checked()
    rested = """() => {
        const { scrollHeight, clientHeight, scrollTop } = document.querySelector('[data-testid=log]');
        const before = window.place;
        window.place = scrollTop;
        return before === scrollTop && scrollHeight - clientHeight - scrollTop > clientHeight / 2;
    }"""
    page.wait_for_function(rested, polling=300)  # it glides there
    seen, count = log.evaluate("log => log.scrollTop"), len(asked)
    until(lambda: len(asked) > count + 1, page=page)
    assert log.evaluate("log => log.scrollTop") == seen
    page.keyboard.press("End")
    expect(follow).to_be_checked()

    # A key glides, and a line comes just then: neither is it left short of the new end nor pulled back.
    held: list[Route] = []
    page.unroute_all()
    page.route(f"**/api/v1/runs/{run}/log?*", lambda route: held.append(route))
    arrived = """([key, more]) => {
        const { scrollHeight, clientHeight, scrollTop, textContent } = document.querySelector('[data-testid=log]');
        const away = key === 'Home' ? scrollTop : scrollHeight - clientHeight - scrollTop;
        return away < 4 && textContent.split('more').length > more;
    }"""
    for key in ("Home", "End") * 4 + ("Home",):
        until(lambda: bool(held), page=page)
        page.keyboard.press(key)
        answer(held.pop())
        page.wait_for_function(arrived, arg=[key, len(asked) - 1])
        expect(follow).to_be_checked(checked=key == "End")
    page.unroute_all()
    page.route(f"**/api/v1/runs/{run}/log?*", answer)

    studio.post(f"/runs/{run}/cancel", status=200)
    expect(page.get_by_test_id("run-state")).to_have_attribute("data-state", "cancelled", timeout=60_000)
    page.wait_for_timeout(1500)
    assert asked.count("tail") == 1
    expect(log).to_contain_text("line 0\n")
    expect(log).to_have_js_property("scrollTop", 0)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save", exact=True).click()
    assert download.value.suggested_filename == f"{run}-log.txt"
    assert download.value.path().read_text() == log.text_content()


def test_the_step_of_samples_is_where_the_hand_is(studio: Studio, page: Page) -> None:
    config = TINY | {"steps": 8, "evaluation": {"every": 2, "prompts": 8, "generation": {"max_new_tokens": 4}}}
    run = studio.post("/runs", {"name": "evaluated", "config": config})["id"]
    studio.wait_for(run, {"succeeded"}, 180)
    page.goto(f"{studio.url}/runs/{run}/samples?step=0")
    table, slider = page.get_by_test_id("samples-table"), page.get_by_role("slider", name="Evaluation")
    expect(table).to_have_attribute("data-step", "0")
    held: list[Route] = []
    page.route("**/samples?step=*", lambda route: held.append(route))
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("3")
    expect(table).to_have_attribute("data-step", "0")  # nothing is answered yet
    until(lambda: any("step=6" in route.request.url for route in held), page=page)
    for route in held:
        route.continue_()
    expect(table).to_have_attribute("data-step", "6")
    expect(slider).to_have_value("3")
    page.unroute("**/samples?step=*")

    table.get_by_role("button", name="Tokens").click()
    page.wait_for_url("**/samples?step=6&sort=-length")
    page.reload()
    expect(table.get_by_role("columnheader", name="Tokens")).to_have_attribute("aria-sort", "descending")

    for step, told in ("7", "There are no samples of step 7"), ("x", "The samples of step x cannot be shown"):
        page.goto(f"{studio.url}/runs/{run}/samples?step={step}")
        expect(page.get_by_role("alert")).to_contain_text(told)
        page.get_by_test_id("samples-step").click()
        page.get_by_role("option", name="4", exact=True).click()
        expect(table).to_have_attribute("data-step", "4")
        expect(page.get_by_role("alert")).to_be_hidden()
    assert serious_faults(page) == []


def test_an_address_with_a_slip_shows_the_first_tab(studio: Studio, trained: str, page: Page) -> None:
    page.goto(f"{studio.url}/runs/{trained}/curve")
    expect(page.get_by_test_id("tab-curves")).to_have_attribute("aria-selected", "true")
    expect(page.locator(".figure.wide")).to_have_attribute("data-status", "shown")


def test_a_narrow_table_is_sorted_selected_and_shows_rewards(studio: Studio, trained: str, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{studio.url}/runs")
    row = page.locator(f"[data-run-id='{trained}']")
    expect(row).to_contain_text("trained")
    expect(row.locator(".c-reward")).to_be_visible()
    page.get_by_role("combobox", name="Sort by").click()
    page.get_by_role("option", name="Name").click()
    page.wait_for_url("**/runs?sort=-name")
    page.get_by_role("button", name="Descending: sort ascending").click()
    page.wait_for_url("**/runs?sort=name")
    page.get_by_role("checkbox", name="Select all shown").check()
    expect(page.get_by_text(re.compile(r"^\d+ selected$"))).to_be_visible()
    expect(row).to_have_attribute("aria-selected", "true")
    assert serious_faults(page) == []
    expect_fitting(page)
