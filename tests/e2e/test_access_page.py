"""Tokens and webhooks from the page: the first token lets its own browser stay, a revoked one is refused, a webhook shows what came of it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.backend.webhook_bench import receiving
from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import Studio, make_lasting, start_studio, stop_studio

pytestmark = pytest.mark.e2e


@pytest.fixture
def open_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio in which no token is in force."""
    studio = start_studio(tmp_path_factory.mktemp("open") / "data")
    yield studio
    stop_studio(studio)


def status(studio: Studio, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"{studio.url}/api/v1/runs", headers=headers, timeout=30).status_code


def test_tokens_and_webhooks(open_studio: Studio, page: Page) -> None:
    studio = open_studio
    page.goto(f"{studio.url}/system")
    page.get_by_role("link", name="Tokens and webhooks").click()
    hooks = page.get_by_test_id("webhooks")
    with receiving() as receiver:
        hooks.get_by_label("Address to tell").fill("ftp://example.org")
        hooks.get_by_test_id("make-webhook").click()
        expect(hooks.get_by_text("http")).to_have_count(1)  # what is wrong with it, at its field
        hooks.get_by_label("Address to tell").fill(receiver.url)
        hooks.get_by_label("Run started").check()
        hooks.get_by_test_id("make-webhook").click()
        expect(page.get_by_test_id("new-webhook")).to_contain_text("whsec_")
        page.get_by_test_id("new-webhook").get_by_role("button", name="Done").click()
        row = hooks.locator("[data-webhook]")
        expect(row).to_contain_text("Run started")
        row.get_by_role("button", name="Test").click()
        expect(row.locator("[data-status='delivered']")).to_contain_text("webhook.test")
        assert [b"webhook.test" in body for _, body in receiver.got] == [True]
        row.get_by_role("button", name="New secret").click()
        page.get_by_role("button", name="Replace, a day of overlap").click()
        expect(page.get_by_test_id("replaced-secret")).to_contain_text("whsec_")
        expect(page.get_by_test_id("replaced-secret")).to_be_focused()
        expect(row).to_contain_text("Signed with the old secret too until")
        expect_fitting(page)
        page.get_by_test_id("replaced-secret").get_by_role("button", name="Done").click()
        row.get_by_role("button", name="Test").click()
        expect(row.locator("[data-status='delivered']")).to_have_count(2)
        assert [len(headers["webhook-signature"].split()) for headers, _ in receiver.got] == [1, 2]
    row.get_by_role("button", name="Disable").click()
    expect(row).to_contain_text("disabled by a person")

    tokens = page.get_by_test_id("tokens")
    expect(tokens).to_contain_text("No token is in force")
    tokens.get_by_label("Who or what will carry it").fill("Ada's laptop")
    tokens.get_by_test_id("make-token").click()
    shown = page.get_by_test_id("new-token")
    expect(shown).to_contain_text("never again")
    first = shown.locator("code").inner_text()
    assert (status(studio), status(studio, first)) == (401, 200)
    shown.get_by_role("button", name="Done").click()
    expect(tokens.locator("[data-token]")).to_contain_text("Ada's laptop")
    expect(tokens).not_to_contain_text("No token is in force")

    tokens.get_by_label("Who or what will carry it").fill("nightly")
    tokens.get_by_test_id("make-token").click()
    second = shown.locator("code").inner_text()
    assert status(studio, second) == 200
    shown.get_by_role("button", name="Done").click()
    assert serious_faults(page) == []
    for width in (360, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        expect_fitting(page)
    tokens.get_by_role("button", name="Revoke nightly").click()
    page.get_by_test_id("confirm-revoke").click()
    expect(tokens.locator("li.over")).to_contain_text("nightly")
    assert (status(studio, second), status(studio, first)) == (401, 200)
    page.reload()
    expect(tokens.locator("[data-token]")).to_have_count(2)
    row = hooks.locator("[data-webhook]")
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    tokens.get_by_role("button", name="Revoke Ada's laptop").click()
    page.get_by_test_id("confirm-revoke").click()
    expect(tokens).to_contain_text("No token is in force")  # the last one is gone: everybody may come in again
    assert status(studio) == 200


def test_a_first_token_is_shown_though_its_browser_cannot_be_logged_in(open_studio: Studio, page: Page) -> None:
    studio = open_studio
    page.route(
        "**/api/v1/session", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
    )
    page.goto(f"{studio.url}/access")
    tokens = page.get_by_test_id("tokens")
    tokens.get_by_label("Who or what will carry it").fill("Ada's laptop")
    tokens.get_by_test_id("make-token").click()
    shown = page.get_by_test_id("new-token")
    expect(shown).to_contain_text("could not be logged in")
    page.wait_for_timeout(4000)  # what the page asks meanwhile is refused, and it stays
    token = shown.locator("code").inner_text()
    assert (status(studio), status(studio, token)) == (401, 200)
    shown.get_by_role("button", name="Done").click()
    expect(page.get_by_test_id("token-input")).to_be_visible()


def test_what_is_shown_once_can_be_copied_over_plain_http(open_studio: Studio, page: Page) -> None:
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })")
    make_lasting(page, 1000)  # for which the button says that it has copied
    page.goto(f"{open_studio.url}/access")
    name = page.get_by_label("Who or what will carry it")
    name.fill("copied")
    page.get_by_test_id("make-token").click()
    made = page.get_by_test_id("new-token")
    token = made.locator("code").inner_text()
    made.get_by_role("button", name="Copy").click()
    expect(made.get_by_role("button", name="Copied")).to_be_focused()
    made.get_by_role("button", name="Done").click()
    name.focus()
    page.keyboard.press("Control+v")
    expect(name).to_have_value(token[:80])
