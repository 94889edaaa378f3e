"""What tests of the sandbox share: the sandbox, or a clear reason why there is none."""

from __future__ import annotations

import os
import shutil

import pytest

from copg_core.rewards.sandbox import Sandbox, the_sandbox


def sandbox_or_skip() -> Sandbox:
    """The sandbox of this machine. In CI its absence is a failure; elsewhere the test is skipped."""
    if shutil.which("bwrap") is None and not os.environ.get("COPG_TEST_REQUIRE_SERVICES"):
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    return the_sandbox()
