"""A studio that asks who is there, in a real browser: in by token, back to where one was, live by cookie, and out again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.accessibility import expect_fitting, serious_faults
from tests.e2e.conftest import PATIENCE_MS, Studio, start_studio, stop_studio

pytestmark = pytest.mark.e2e
ADMIN = secrets.token_hex(32)
CARRIED = {"Authorization": f"Bearer {ADMIN}"}
RUN = {
    "config": {
        "algorithm": "sft", "policy": {"kind": "preset", "size": "nano"}, "batch_size": 8, "steps": 2,
        "data": {"kind": "task", "train_size": 32, "validation_size": 8},
    },
    "name": "watched",
}  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    file = tmp_path_factory.mktemp("secrets") / "admin"
    file.write_text(ADMIN + "\n")
    running = start_studio(tmp_path_factory.mktemp("guarded") / "data", {"COPG_ADMIN_TOKEN_FILE": str(file)})
    yield running
    stop_studio(running)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which the page's policy holds, as in everybody's browser."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    context.close()


@pytest.fixture
def refused(page: Page) -> Iterator[list[str]]:
    """What the browser's policy forbade: nothing, at the end of a test."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if "Content Security Policy" in message.text else None)
    yield said
    assert said == []


def post(studio: Studio, path: str, body: object) -> dict[str, str]:
    answer = httpx.post(f"{studio.url}/api/v1{path}", json=body, headers=CARRIED, timeout=30)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def log_in(page: Page, token: str) -> None:
    page.get_by_test_id("token-input").fill(token)
    page.get_by_test_id("login-button").click()


def test_in_by_token_back_to_where_one_was_live_and_out_again(guarded: Studio, page: Page, refused: list[str]) -> None:
    page.goto(f"{guarded.url}/runs?q=watched")
    page.wait_for_url("**/login?next=*")
    log_in(page, "copg_000000000000_" + "x" * 43)
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    log_in(page, ADMIN)
    page.wait_for_url("**/runs?q=watched")
    expect(page.get_by_test_id("live")).to_have_attribute("data-connected", "true")
    run = post(guarded, "/runs", RUN)
    expect(page.locator(f"[data-run-id='{run['id']}']")).to_be_visible()  # the stream came in by the cookie
    assert page.evaluate("document.cookie") == ""  # which no script sees
    page.get_by_test_id("user-button").click()
    expect(page.get_by_text("May do everything")).to_be_visible()
    page.get_by_test_id("logout-item").click()
    page.wait_for_url("**/login")
    page.goto(f"{guarded.url}/runs")
    page.wait_for_url("**/login?next=*")


def test_who_may_only_look_sees_nothing_to_launch_with(guarded: Studio, page: Page, refused: list[str]) -> None:
    run = post(guarded, "/runs", RUN)
    reader = post(guarded, "/tokens", {"name": "a reader", "scope": "read"})
    page.goto(f"{guarded.url}/runs/{run['id']}")
    log_in(page, reader["token"])
    page.wait_for_url(f"**/runs/{run['id']}")
    expect(page.get_by_test_id("user-button")).to_be_visible()
    expect(page.get_by_test_id("run-state")).to_be_visible()
    for name in ("Launch", "Clone", "Edit name, notes and tags", "Add notes and tags", "Cancel", "Delete"):
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    page.goto(f"{guarded.url}/launch")
    expect(page.get_by_text("Your token may only look")).to_be_visible()
    refusal = page.evaluate("fetch('/api/v1/pipelines', {method: 'POST', body: '{}'}).then((answer) => answer.status)")
    assert refusal == 403


def test_the_policy_lets_the_page_do_its_work(guarded: Studio, page: Page, refused: list[str]) -> None:
    """Figures, workers, fonts and the API's documentation, all under the Content-Security-Policy."""
    page.goto(f"{guarded.url}/bandit")
    log_in(page, ADMIN)
    expect(page.locator("[data-testid=figure-regret] .js-plotly-plot .trace").first).to_be_visible()
    page.goto(f"{guarded.url}/docs")
    expect(page.get_by_text("CoPG Studio").first).to_be_visible()
    blocked = page.evaluate("new Promise((done) => { const script = document.createElement('script');"
                            "script.textContent = 'window.ran = 1'; document.body.append(script); setTimeout(() => done(window.ran ?? 0), 50) })")  # fmt: skip
    assert blocked == 0
    assert refused
    refused.clear()


def test_login_is_readable_for_everybody(guarded: Studio, page: Page, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"{guarded.url}/login")
            expect(page.get_by_test_id("token-input")).to_be_focused()
            assert serious_faults(page) == []
            expect_fitting(page)
