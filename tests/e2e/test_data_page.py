"""Data in a real browser: a file is chosen, looked at, understood anew, and taken into a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import Studio

pytestmark = pytest.mark.e2e
STACKS = ["embedded"]


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
    expect(page.get_by_test_id("findings")).to_contain_text("rows are equal to an earlier one")
    expect(page.get_by_test_id("figure-completion_lengths")).to_have_attribute("data-status", "shown")
    rows = page.get_by_test_id("rows")
    expect(rows).not_to_contain_text("tokens")
    page.get_by_test_id("count-tokens").click()
    expect(rows.get_by_text(re.compile(r"\d+ characters, \d+ tokens")).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
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
    for _ in range(1500):
        if held:
            break
        page.wait_for_timeout(20)
    assert held, "the server has read its list, without the file that comes"
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.get_by_test_id("file-input").set_input_files(pairs(tmp_path / "early.jsonl", prompt="early"))
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.get_by_role("link", name="early.jsonl")).to_have_count(2)  # of what was sent, and in the list


def test_what_is_no_data_is_said_beside_the_file(studio: Studio, page: Page, tmp_path: Path) -> None:
    page.goto(f"{studio.url}/data")
    notes = tmp_path / "notes.txt"
    notes.write_text("hello", encoding="utf-8")
    page.get_by_test_id("file-input").set_input_files(notes)
    expect(page.get_by_test_id("upload")).to_have_attribute("data-state", "failed")
    expect(page.get_by_test_id("upload").get_by_role("alert")).to_contain_text("must end in jsonl")
