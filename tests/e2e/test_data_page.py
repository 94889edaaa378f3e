"""Data in a real browser: a file is chosen, looked at, understood anew, and taken into a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio, make_lasting
from tests.waiting import until

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]
NEEDY = {
    "algorithm": "sft",
    "policy": {"kind": "preset", "size": "nano"},
    "steps": 4,
    "batch_size": 4,
    "evaluation": {"every": 4, "prompts": 4, "generation": {"max_new_tokens": 4}},
}


def pairs(path: Path, **names: str) -> Path:
    rows = [
        {names.get("prompt", "prompt"): f"p{i}", "chosen": "good " * (i + 1), "rejected": f"bad {i}"} for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1440, 360])
def test_a_file_becomes_a_data_set_and_a_runs_source(studio: Studio, page: Page, tmp_path: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{studio.url}/data")
    name = f"pairs-{width}.jsonl"
    page.get_by_test_id("file-input").set_input_files(pairs(tmp_path / name, prompt=f"ask {width}"))
    sent = page.get_by_test_id("upload")
    expect(sent).to_have_attribute("data-state", "done")
    sent.get_by_role("link").click()
    state = page.get_by_test_id("data-state")
    expect(state).to_have_attribute("data-state", "ready", timeout=60_000)
    expect(page.get_by_role("status").filter(has_text="Analysed: ")).to_have_count(1)
    expect(page.get_by_test_id("findings")).to_contain_text("rows are equal to an earlier one")
    expect(page.get_by_test_id("figure-completion_lengths")).to_have_attribute("data-status", "shown")
    rows = page.get_by_test_id("rows")
    expect(rows).not_to_contain_text("tokens")
    page.get_by_test_id("count-tokens").click()
    expect(rows.get_by_text(re.compile(r"\d+ characters, \d+ tokens")).first).to_be_visible()
    page.route("**/tokens", lambda route: route.fulfill(status=503))
    page.get_by_test_id("count-tokens").click()
    counted = page.get_by_test_id("truncation")
    expect(counted.get_by_role("alert")).to_contain_text("this is the count before: The server answered 503.")
    expect(counted).to_contain_text("cut at 512 and 128")
    page.unroute_all()
    expect_fitting(page)
    assert serious_faults(page) == []
    page.get_by_test_id("use-button").click()
    expect(page.locator("#field-data-id")).to_have_value(f"{name} · 30 rows")


def test_a_file_that_is_sent_while_the_list_is_on_its_way_is_in_the_list(
    studio: Studio, page: Page, tmp_path: Path
) -> None:
    held: list[tuple[Route, APIResponse]] = []
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) > 1:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.route("**/api/v1/datasets", hold)
    page.goto(f"{studio.url}/data")
    until(lambda: held, page=page)  # the server has read its list, without the file that comes
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.get_by_test_id("file-input").set_input_files(pairs(tmp_path / "early.jsonl", prompt="early"))
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.get_by_role("link", name="early.jsonl")).to_have_count(2)  # of what was sent, and in the list


def test_how_long_ago_a_file_came_goes_on_by_itself(studio: Studio, page: Page, tmp_path: Path) -> None:
    page.clock.install()
    row = page.locator(f"[data-dataset='{sent(studio, pairs(tmp_path / 'old.jsonl', prompt='old'))['id']}']")
    page.goto(f"{studio.url}/data")
    expect(row.get_by_text("just now")).to_be_visible()
    page.route("**/api/v1/datasets", lambda route: route.abort())
    page.clock.fast_forward("05:00")
    expect(row.get_by_text("5 min ago")).to_be_visible()


def test_what_is_no_data_is_said_beside_the_file(studio: Studio, page: Page, tmp_path: Path) -> None:
    page.goto(f"{studio.url}/data")
    notes = tmp_path / "notes.txt"
    notes.write_text("hello", encoding="utf-8")
    page.get_by_test_id("file-input").set_input_files(notes)
    expect(page.get_by_test_id("upload")).to_have_attribute("data-state", "failed")
    expect(page.get_by_test_id("upload")).to_contain_text("must end in jsonl")
    expect(page.get_by_role("region", name="Upload").get_by_role("status")).to_contain_text("notes.txt: ")


def test_a_file_goes_on_while_another_page_is_shown(studio: Studio, page: Page, tmp_path: Path) -> None:
    held: list[Route] = []
    page.route("**/api/v1/datasets/upload?*", lambda route: held.append(route))
    page.goto(f"{studio.url}/data")
    with page.expect_request("**/api/v1/datasets/upload?*"):
        page.get_by_test_id("file-input").set_input_files(pairs(tmp_path / "slow.jsonl", prompt="slow"))
    navigation = page.get_by_role("navigation", name="Main")
    navigation.get_by_role("link", name="Sweeps").click()
    page.wait_for_url("**/sweeps")
    assert page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))") is False  # the browser asks
    navigation.get_by_role("link", name="Data").click()
    expect(page.get_by_test_id("upload")).to_have_attribute("data-state", "sending")
    expect(page.get_by_role("button", name="Stop the upload of slow.jsonl")).to_be_visible()
    navigation.get_by_role("link", name="Sweeps").click()
    expect(page.get_by_role("heading", name="Sweeps")).to_be_visible()  # the page of the files has gone
    held[0].abort()
    expect(page.get_by_role("alert").filter(has_text="slow.jsonl: The connection broke")).to_be_visible()
    navigation.get_by_role("link", name="Data").click()
    expect(page.get_by_test_id("upload")).to_have_attribute("data-state", "failed")
    assert page.evaluate("dispatchEvent(new Event('beforeunload', { cancelable: true }))") is True


def sent(studio: Studio, file: Path) -> dict[str, Any]:
    answer = httpx.post(
        f"{studio.url}/api/v1/datasets/upload", params={"filename": file.name}, content=file.read_bytes(), timeout=60
    )
    return dict(answer.json())


def delete(page: Page, studio: Studio, data_set: str) -> None:
    page.goto(f"{studio.url}/data/{data_set}")
    page.get_by_test_id("delete-data").click()
    page.get_by_test_id("confirm-delete").click()


def test_deleted_data_sets_are_taken_back_one_by_one_and_the_rest_goes_with_the_page(
    studio: Studio, page: Page, tmp_path: Path
) -> None:
    made = {name: sent(studio, pairs(tmp_path / f"{name}.jsonl", prompt=name))["id"] for name in ("kept", "gone")}
    rows = {name: page.locator(f"[data-dataset='{uid}']") for name, uid in made.items()}
    page.set_viewport_size({"width": 360, "height": 800})
    make_lasting(page, 3000, 20_000)
    delete(page, studio, made["kept"])
    page.wait_for_url("**/data")
    expect(rows["kept"]).to_have_count(0)
    rows["gone"].get_by_role("link").click()
    page.get_by_test_id("delete-data").click()
    page.get_by_test_id("confirm-delete").click()
    expect(rows["gone"]).to_have_count(0)
    expect(page.get_by_role("button", name="Undo")).to_have_count(2)
    expect_fitting(page)
    assert serious_faults(page) == []
    page.get_by_role("alert").filter(has_text="Deleted: kept").get_by_role("button", name="Undo").press("Enter")
    expect(rows["kept"]).to_be_visible()
    expect(page.get_by_role("alert").filter(has_text="Taken back: kept")).to_be_visible()
    expect(page.locator("#page")).to_be_focused()  # the button under the focus is gone
    expect(rows["gone"]).to_have_count(0)
    page.goto("about:blank")
    until(
        lambda: [one["id"] for one in studio.get("/datasets")["items"] if one["id"] in made.values()] == [made["kept"]]
    )


def test_a_file_that_is_uploaded_again_is_not_deleted(studio: Studio, page: Page, tmp_path: Path) -> None:
    file = pairs(tmp_path / "again.jsonl", prompt="again")
    made = sent(studio, file)["id"]
    delete(page, studio, made)
    page.wait_for_url("**/data")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.get_by_test_id("file-input").set_input_files(file)
    expect(page.get_by_test_id("upload")).to_contain_text("nothing was added, and it is not deleted")
    expect(page.locator(f"[data-dataset='{made}']")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    page.goto("about:blank")
    assert studio.get(f"/datasets/{made}")["deleted_at"] is None


def test_a_data_set_that_a_run_needs_stays_and_the_page_says_why(studio: Studio, page: Page, tmp_path: Path) -> None:
    made = sent(studio, pairs(tmp_path / "needed.jsonl", prompt="needed"))
    waits = {
        "name": "waits",
        "config": {**NEEDY, "data": made["source"]},
        "gpus": 64,
    }  # that nobody has: it stays queued
    row = page.locator(f"[data-dataset='{made['id']}']")
    delete(page, studio, made["id"])
    expect(row).to_have_count(0)
    run = studio.post("/runs", waits)["id"]  # somebody else's, before the time is up
    page.get_by_role("alert").filter(has_text="Deleted: needed").get_by_label("Close").click()
    refused = page.get_by_role("alert").filter(has_text="needed.jsonl could not be deleted")
    expect(refused).to_contain_text("needed by runs that have not ended ('waits')")
    expect(row).to_be_visible()
    delete(page, studio, made["id"])  # now it is known at once
    expect(page.get_by_role("alert").filter(has_text="needed.jsonl cannot be deleted")).to_contain_text("'waits'")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    studio.post(f"/runs/{run}/cancel", status=200)
