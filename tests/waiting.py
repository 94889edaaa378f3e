"""Waiting for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def until(condition: Callable[[], object], seconds: float = 30, page: Page | None = None) -> None:
    """Return as soon as the condition holds. A browser's page that is given routes its requests meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        if page is None:
            time.sleep(0.02)
        else:
            page.wait_for_timeout(20)
