"""The page by keyboard alone: palette, list of keys, and the runs table."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import TINY, Studio, make_lasting
from tests.e2e.test_data_page import pairs
from tests.waiting import until

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]


def test_all_by_keyboard(studio: Studio, page: Page) -> None:
    ids = [studio.post("/runs", {"name": name, "config": TINY})["id"] for name in ("older", "newer")]
    page.goto(f"{studio.url}/runs")
    links = [page.locator(f"[data-run-id='{run}'] a.name") for run in ids]
    expect(links[0]).to_be_visible()

    page.keyboard.press("j")
    expect(links[1]).to_be_focused()  # the newest is first
    page.keyboard.press("j")
    expect(links[0]).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator(f"[data-run-id='{ids[0]}']")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("x")
    expect(page.locator(f"[data-run-id='{ids[0]}']")).to_have_attribute("aria-selected", "false")
    page.keyboard.press("k")
    expect(links[1]).to_be_focused()

    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("compare (2")
    expect(page.get_by_role("option", name="Compare (2)")).to_contain_text("Selected runs")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?run=*")
    page.keyboard.press("Control+k")
    page.keyboard.type("compare (2")
    expect(page.get_by_text("Nothing fits these words.")).to_be_visible()  # of the page that was left
    page.keyboard.press("Escape")
    page.go_back()
    expect(links[0]).to_be_visible()

    page.keyboard.press("/")
    search = page.get_by_label("Search runs")
    expect(search).to_be_focused()
    page.keyboard.type("jk?x/")  # text, and no command
    expect(search).to_have_value("jk?x/")
    expect(page.get_by_role("dialog")).to_have_count(0)
    search.fill("")
    search.blur()

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Go to a page")
    expect(field).to_be_focused()
    page.keyboard.type("older")
    found = page.get_by_role("option", name="older")
    expect(found).to_have_attribute("aria-selected", "true")
    assert serious_faults(page) == []
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{studio.url}/runs/{ids[0]}")
    expect(page.get_by_role("heading", name="older")).to_be_visible()

    page.keyboard.press("Control+k")
    expect(page.get_by_role("option", name="Clone")).to_be_visible()  # of the run on this page
    page.keyboard.type("no such thing at all")
    expect(field).to_have_value("no such thing at all")  # no key is lost, however soon it comes
    expect(page.get_by_text("Nothing fits these words.")).to_be_visible()
    field.fill("sys")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{studio.url}/system")


def perform(page: Page, words: str, offer: str, group: str) -> None:
    """Find an offer of the open page in the palette, and take it."""
    page.keyboard.press("Control+k")
    page.keyboard.type(words)
    found = page.get_by_role("option", name=offer)
    expect(found).to_contain_text(group)
    found.click()
    expect(page.get_by_role("dialog", name="Command palette")).to_have_count(0)


def test_the_palette_knows_what_the_bandit_and_the_queue_can_do(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/bandit")
    preset = page.get_by_test_id("preset-paper")
    expect(preset).to_have_attribute("aria-pressed", "true")
    other = next(one for one in studio.get("/bandit/presets")["items"] if one["name"] != "paper")
    perform(page, f"preset {other['title']}", f"Preset: {other['title']}", "Bandit")
    expect(page.get_by_test_id(f"preset-{other['name']}")).to_have_attribute("aria-pressed", "true")
    expect(preset).to_have_attribute("aria-pressed", "false")
    perform(page, "log axis", "Regret on a log axis", "Bandit")
    page.wait_for_url("**scale=log**")
    with page.expect_download() as download:
        perform(page, "all figures", "All figures as CSV", "Bandit")
    assert download.value.suggested_filename == "bandit.csv"

    page.goto(f"{studio.url}/system")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    perform(page, "queue", "Pause the queue", "Queue")
    expect(page.get_by_text("The queue is paused", exact=True)).to_be_visible()
    perform(page, "queue", "Resume the queue", "Queue")
    expect(page.get_by_text("The queue is paused", exact=True)).to_have_count(0)


def test_what_is_printed_is_drawn_before(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "to be printed", "config": TINY})["id"]
    studio.wait_for(run, {"succeeded"}, 180)
    page.set_viewport_size({"width": 360, "height": 500})
    make_lasting(page, 5000)  # after which it is printed as it is
    page.goto(f"{studio.url}/runs/{run}")
    figures = page.locator(".figure[data-status]")
    expect(figures.first).to_have_attribute("data-status", "shown")
    statuses = "[...document.querySelectorAll('.figure[data-status]')].map((one) => one.dataset.status)"
    assert "loading" in page.evaluate(statuses), "what is out of sight has not been fetched"
    page.evaluate(
        f"() => {{ window.print = () => {{ window.printed = {statuses}; }}; }}"
    )  # a bare function would be called
    page.keyboard.press("Control+p")
    page.wait_for_function("window.printed")
    assert len(page.evaluate("window.printed")) > 1
    assert "loading" not in page.evaluate("window.printed")


def test_the_palette_knows_what_can_be_done_with_data(studio: Studio, page: Page, tmp_path: Path) -> None:
    sent = httpx.post(
        f"{studio.url}/api/v1/datasets/upload",
        params={"filename": "by-keyboard.jsonl"},
        content=pairs(tmp_path / "pairs.jsonl", prompt="by keyboard").read_bytes(),
        timeout=60,
    ).json()
    page.goto(f"{studio.url}/data/{sent['id']}")
    figure = page.get_by_test_id("figure-completion_lengths")
    expect(figure).to_have_attribute("data-status", "shown", timeout=60_000)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option", name="Use in a run")).to_contain_text("This data set")
    expect(page.get_by_role("option", name="as CSV")).to_have_count(0)  # one of many: only by its words
    page.keyboard.press("Escape")
    for form in ("CSV", "SVG"):
        with page.expect_download() as download:
            perform(page, f"completion lengths {form}", f"Completion lengths as {form}", "Download")
        assert download.value.suggested_filename.endswith(f".{form.lower()}")
    perform(page, "delete", "Delete", "This data set")
    dialog = page.get_by_role("dialog", name="Delete “by-keyboard.jsonl”?")
    expect(dialog).to_be_visible()  # asked first, as by the button
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_have_count(0)
    perform(page, "use in", "Use in a run", "This data set")
    expect(page.locator("#field-data-id")).to_have_value("by-keyboard.jsonl · 30 rows")


def test_a_view_is_kept_found_and_forgotten(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/runs?state=failed&sort=-beta")
    page.get_by_role("button", name="Saved views").click()
    page.get_by_label("Name of this view").fill("What failed")
    page.get_by_role("button", name="Keep").click()
    kept = page.get_by_role("link", name="What failed")
    expect(kept).to_have_attribute("aria-current", "page")
    assert serious_faults(page) == []
    page.get_by_label("Name of this view").fill("What failed")
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("alert")).to_contain_text("choose another name")

    page.goto(f"{studio.url}/bandit")
    expect(page.get_by_role("button", name="Saved views")).to_be_visible()
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Command palette")).to_be_visible()
    page.keyboard.type("what failed")
    expect(page.get_by_role("option", name="What failed")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{studio.url}/runs?state=failed&sort=-beta")
    page.get_by_role("button", name="Saved views").click()
    studio.post("/saved-views", {"name": "With another", "address": "/runs"})
    page.reload()
    page.get_by_role("button", name="Saved views").click()
    page.get_by_role("button", name="Forget What failed").click()
    expect(kept).to_have_count(0)
    expect(page.get_by_role("button", name="Forget With another")).to_be_focused()
    page.keyboard.press("u")  # in the open list, too
    expect(kept).to_have_count(1)
    page.get_by_role("button", name="Forget What failed").click()
    page.get_by_role("button", name="Forget With another").click()
    expect(page.get_by_label("Name of this view")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("u")  # the last of them
    expect(page.get_by_role("button", name="Undo")).to_have_count(1)
    page.goto("about:blank")
    until(lambda: [one["name"] for one in studio.get("/saved-views")["items"]] == ["With another"])


def test_a_deletion_is_taken_back_by_its_key_and_by_the_palette(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "deleted by keys", "config": TINY})["id"]
    studio.wait_for(run, {"succeeded"}, 120)
    page.goto(f"{studio.url}/runs")
    row = page.locator(f"[data-run-id='{run}']")
    for taken_back in ("key", "palette"):
        expect(row).to_be_visible()
        row.get_by_role("checkbox").focus()
        page.keyboard.press("x")
        page.get_by_test_id("delete-button").press("Enter")
        expect(page.get_by_test_id("confirm-button")).to_be_focused()
        page.keyboard.press("Enter")
        expect(row).to_have_count(0)
        expect(page.get_by_role("dialog")).to_have_count(0)
        if taken_back == "key":
            page.keyboard.press("u")
        else:
            page.keyboard.press("Control+k")
            page.keyboard.type("take back")
            expect(page.get_by_role("option", name="Take back: deleted deleted by keys")).to_be_visible()
            page.keyboard.press("Enter")
    expect(row).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    assert studio.get(f"/runs/{run}")["name"] == "deleted by keys"


def test_single_keys_are_switched_off_and_on_again(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "quiet", "config": TINY})["id"]
    page.goto(f"{studio.url}/runs")
    link = page.locator(f"[data-run-id='{run}'] a.name")
    expect(link).to_be_visible()
    keys = page.get_by_role("dialog", name="Keys")
    page.keyboard.press("?")
    keys.get_by_role("switch", name="Single keys").uncheck(force=True)
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    page.reload()
    expect(link).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("?")
    page.wait_for_timeout(300)
    expect(keys).to_have_count(0)
    expect(link).not_to_be_focused()
    perform(page, "keys", "Keys", "Page")
    keys.get_by_role("switch", name="Single keys").check(force=True)
    page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    page.keyboard.press("j")
    expect(link).to_be_focused()


def test_the_focus_is_never_lost_nor_behind_the_header(studio: Studio, page: Page) -> None:
    run = studio.post("/runs", {"name": "focused", "config": TINY, "gpus": 64})["id"]
    page.goto(f"{studio.url}/runs")
    page.locator(f"[data-run-id='{run}'] a.name").click()
    expect(page.get_by_role("heading", name="focused")).to_be_visible()
    expect(page.locator("#page")).to_be_focused()
    studio.post(f"/runs/{run}/cancel", status=200)
    studio.wait_for(run, {"cancelled", "succeeded"}, 60)
    page.get_by_test_id("delete-button").click()
    page.get_by_test_id("confirm-button").click()
    page.wait_for_url("**/runs")
    expect(page.locator("#page")).to_be_focused()

    for width in (1440, 360):
        page.set_viewport_size({"width": width, "height": 500})
        page.goto(f"{studio.url}/launch")
        last = page.locator("main").get_by_role("button").last
        last.focus()
        for _ in range(40):
            page.keyboard.press("Shift+Tab")
            covered = page.evaluate("""() => {
                const focused = document.activeElement, top = document.querySelector('header.top');
                return !top.contains(focused) && focused.getBoundingClientRect().bottom <= top.getBoundingClientRect().bottom && focused.outerHTML.slice(0, 200);
            }""")
            assert not covered, (width, covered)


def test_every_page_has_a_title_of_its_own(studio: Studio, page: Page) -> None:
    titles = {
        "runs": "Runs", "sweeps": "Sweeps", "compare": "Compare", "samples": "Samples", "playground": "Playground", "launch": "Launch",
        "data": "Data", "bandit": "Bandit", "system": "System", "access": "Access", "nowhere": "No such page",
    }  # fmt: skip
    for path, title in titles.items():
        page.goto(f"{studio.url}/{path}")
        expect(page).to_have_title(f"{title} · CoPG Studio")
