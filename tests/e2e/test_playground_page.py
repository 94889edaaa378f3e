"""The playground: a prompt of one's own, answered by two finished runs through a real worker."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio
from tests.e2e.test_artifacts_page import TINY
from tests.e2e.test_keyboard import perform

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
STACKS = ["services"]


def test_a_prompt_that_was_typed_is_not_lost_unasked(studio: Studio, page: Page) -> None:
    page.goto(f"{studio.url}/playground?prompt=given")
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_have_value("given")
    data = page.get_by_role("navigation", name="Main").get_by_role("link", name="Data", exact=True)
    data.click()
    page.wait_for_url("**/data")  # what the address brings is lost by no link
    page.go_back()
    prompt.fill("typed")
    page.get_by_role("button", name="Let them write").click()
    expect(page.get_by_text("List should have at least 1 item")).to_be_visible()  # refused: it is still not sent
    data.click()
    question = page.get_by_role("dialog", name="Leave without saving?")
    question.get_by_role("button", name="Stay").click()
    expect(question).to_have_count(0)
    expect(prompt).to_have_value("typed")
    prompt.fill("given")
    data.click()
    page.wait_for_url("**/data")


def test_a_prompt_is_answered_side_by_side(studio: Studio, page: Page) -> None:
    other: dict[str, Any] = TINY | {"algorithm": "copg", "beta": 0.3, "reward": {"kind": "gold"}, "seed": 3}
    first = studio.post("/runs", {"name": "the first", "config": TINY})["id"]
    second = studio.post("/runs", {"name": "the second", "config": other})["id"]
    for run in (first, second):
        studio.wait_for(run, {"succeeded"}, 180)

    page.goto(f"{studio.url}/runs/{first}/samples")
    page.get_by_role("link", name="Try a prompt").click()
    form = page.get_by_test_id("trial-form")
    expect(form.get_by_text("the first", exact=True)).to_be_visible()
    form.get_by_role("combobox", name="Runs").click()
    page.get_by_role("option", name="the second").click()
    page.keyboard.press("Escape")
    form.get_by_role("button", name="Let them write").click()
    expect(form.get_by_text("String should have at least 1 character")).to_be_visible()  # where the prompt is

    perform(page, "take a prompt", "Take a prompt of the first run", "Playground")
    prompt = form.get_by_label("Prompt", exact=True)
    expect(prompt).not_to_have_value("")
    prompt.fill("my boss hid my zebra . should i sue ? TL;DR:")
    form.get_by_label("Completions", exact=True).fill("2")
    form.get_by_role("button", name="Let them write").click()
    expect(page.get_by_test_id("answers")).to_have_attribute("data-state", "succeeded", timeout=90_000)

    answers = page.get_by_test_id("answer")
    expect(answers).to_have_count(2)
    for place, name in enumerate(("the first", "the second")):
        expect(answers.nth(place).get_by_role("heading", name=name)).to_be_visible()
        expect(answers.nth(place).get_by_role("listitem")).to_have_count(2)
        expect(answers.nth(place)).to_contain_text("1 of the prompt’s")  # zebra
        expect(answers.nth(place)).to_contain_text("n = 2")
    means = answers.nth(0).locator(".means")
    means.get_by_role("button", name="no KL").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("trained without a reference")  # SFT
    page.mouse.move(0, 0)
    expect(page.get_by_role("tooltip")).to_have_count(0)
    expect(answers.nth(1).locator(".means")).to_contain_text(", KL ")
    expect(answers.nth(1).get_by_role("button", name="no KL")).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="scored by gold reward of the task")).to_be_visible()
    assert serious_faults(page) == []

    trial = page.url.rsplit("/", 1)[1]
    seen = studio.get(f"/trials/{trial}")
    assert [one["run"] for one in seen["answers"]] == [first, second]
    for place, answer in enumerate(seen["answers"]):
        for at, completion in enumerate(answer["completions"]):
            item = answers.nth(place).get_by_role("listitem").nth(at)
            expect(item).to_contain_text(completion["text"] or "(empty)")
            assert completion["reward"] is not None
            assert completion["gold"] is None  # it is what scores, and is not told twice
            expect(item).not_to_contain_text("gold")
            if place == 0:
                assert completion["kl"] is None
                expect(item).not_to_contain_text("KL")
            else:
                assert completion["kl"] != 0  # it has learnt for six steps
                expect(item).to_contain_text(re.compile(r"KL −?[0-9.e−]+"))
    assert [answer["kl"] is None for answer in seen["answers"]] == [True, False]
    assert trial not in {one["id"] for one in studio.get("/runs")["items"]}

    page.goto(f"{studio.url}/playground")
    page.get_by_role("link", name="my boss hid my zebra").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("my boss hid my zebra . should i sue ? TL;DR:")
    expect(answers).to_have_count(2)
    page.set_viewport_size({"width": 360, "height": 900})
    expect_fitting(page)
