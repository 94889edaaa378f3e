"""What axe says of a page, and whether it fits its window."""

from __future__ import annotations

import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

_SETTLED = """() => Promise.allSettled(
  document.getAnimations().filter((one) => one instanceof CSSTransition).map((one) => one.finished))"""
_STAYS_MS = 1000


def serious_faults(page: Page) -> list[str]:
    """What axe finds serious or critical and still finds a moment later, with the elements; empty where all is well.

    Half faded text has half its contrast, so it is asked once nothing fades. A dialog's text is there before its fading begins,
    so what is found then is looked for again.
    """
    found = _asked(page)
    deadline = time.monotonic() + 5
    while found and time.monotonic() < deadline:
        page.wait_for_timeout(_STAYS_MS)
        found = _asked(page)
    return found


def expect_fitting(page: Page) -> None:
    """Nothing is wider than the window (WCAG 1.4.10). A page that was just narrowed is laid out anew in a moment."""
    assert page.viewport_size
    expect(page.locator("html")).to_have_js_property("scrollWidth", page.viewport_size["width"])


def _asked(page: Page) -> list[str]:
    page.evaluate(_SETTLED)
    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]
