"""A trained run's artifacts and the disk they take up, as a person sees them: export, pin, delete, free."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accessibility import serious_faults
from tests.e2e.conftest import Studio
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
STACKS = ["embedded"]

TINY = {
    "algorithm": "sft", "policy": {"kind": "preset", "size": "nano"}, "batch_size": 8, "steps": 6,
    "data": {"kind": "task", "train_size": 48, "validation_size": 16},
    "evaluation": {"every": 6, "prompts": 4, "generation": {"max_new_tokens": 4}},
    "checkpoints": {"every": 2, "keep": 2},
}  # fmt: skip


def test_export_pin_delete_and_free(studio: Studio, page: Page, tmp_path: Path) -> None:
    run = studio.post("/runs", {"name": "to be exported", "config": TINY})["id"]
    studio.wait_for(run, {"succeeded"}, 180)
    page.goto(f"{studio.url}/runs/{run}/files")
    with page.expect_download() as download:
        page.get_by_test_id("export").click()
    download.value.save_as(tmp_path / "export.zip")
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        names = {name.partition("/")[2] for name in archive.namelist()}
    assert {"README.md", "run.toml", "model.safetensors", "config.json"} <= names

    kept = page.get_by_test_id("checkpoints")
    expect(kept.get_by_role("listitem")).to_have_count(2)
    kept.get_by_label("Pin step 4").click()
    expect(kept.get_by_label("Delete step 4")).to_be_disabled()
    kept.get_by_label("Delete step 2").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(kept.get_by_role("listitem")).to_have_count(1)
    expect(kept.get_by_label("Unpin step 4")).to_be_focused()  # the row under the focus is gone
    page.keyboard.press("u")
    expect(kept.get_by_role("listitem")).to_have_count(2)
    kept.get_by_label("Delete step 2").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("alert").filter(has_text="Deleted: Checkpoint of step 2").get_by_label("Close").click()
    until(lambda: len(studio.get(f"/runs/{run}/checkpoints")["items"]) == 1)
    expect(kept.get_by_role("listitem")).to_have_count(1)
    kept.get_by_label("Unpin step 4").click()
    expect(kept.get_by_label("Delete step 4")).to_be_enabled()

    page.route("**/checkpoints", lambda route: route.fulfill(status=503))
    kept.get_by_label("Pin step 4").click()
    expect(kept.get_by_role("alert")).to_contain_text("It could not be listed anew")
    expect(kept.get_by_role("listitem")).to_have_count(1)  # and stays
    page.unroute_all()
    kept.get_by_label("Pin step 4").click()  # it is so already
    kept.get_by_label("Unpin step 4").click()
    expect(kept.get_by_role("alert")).to_have_count(0)
    expect(kept.get_by_label("Delete step 4")).to_be_enabled()

    page.get_by_test_id("delete-button").click()
    page.get_by_test_id("confirm-button").click()
    page.wait_for_url("**/runs")
    page.go_back()  # while it can still be taken back
    expect(page.get_by_test_id("being-deleted")).to_be_visible()
    expect(kept.get_by_label("Download step 4")).to_be_visible()
    expect(page.get_by_test_id("export")).to_be_visible()
    expect(kept.get_by_label("Pin step 4")).to_have_count(0)
    expect(kept.get_by_label("Delete step 4")).to_have_count(0)
    page.get_by_test_id("being-deleted").get_by_role("button", name="Undo").click()
    expect(kept.get_by_label("Delete step 4")).to_be_enabled()

    page.goto(f"{studio.url}/system")
    storage = page.get_by_test_id("storage")
    expect(storage.get_by_text("Trained models")).to_be_visible()
    storage.get_by_test_id("free-checkpoints").click()
    expect(page.get_by_role("dialog")).to_contain_text(re.compile(r"[\d.]+ [kM]B in 1 place would be freed"))
    assert serious_faults(page) == []
    page.get_by_test_id("confirm-free").click()
    expect(storage.get_by_test_id("free-checkpoints")).to_be_disabled()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert studio.get(f"/runs/{run}/checkpoints")["items"] == []
    assert serious_faults(page) == []
