"""Saved views: kept by a name that no other has, listed by it, forgotten; an address can only lead to a page of this studio."""

from __future__ import annotations

import pytest

from tests.backend.studio_bench import API, Bench, problem


def keep(bench: Bench, name: str, address: str = "/runs?state=failed", **headers: str) -> tuple[int, dict[str, str]]:
    answer = bench.client.post(f"{API}/saved-views", json={"name": name, "address": address}, headers=headers)
    return answer.status_code, answer.json()


def test_views_are_kept_listed_and_forgotten(bench: Bench) -> None:
    assert bench.get("/saved-views")["items"] == []
    address = "/samples?column=a%40first&column=a%40last&sort=gain"
    assert keep(bench, "what gained", address)[0] == 201
    status, made = keep(bench, "All that failed")
    assert (status, made["created_by"]) == (201, "user")
    listed = bench.get("/saved-views")["items"]
    assert [(one["name"], one["address"]) for one in listed] == [
        ("All that failed", "/runs?state=failed"),
        ("what gained", address),
    ]
    assert bench.client.delete(f"{API}/saved-views/{made['id']}").status_code == 204
    problem(bench.client.delete(f"{API}/saved-views/{made['id']}"), 404)
    assert [one["name"] for one in bench.get("/saved-views")["items"]] == ["what gained"]


def test_a_name_is_taken_once_and_a_key_makes_one(bench: Bench) -> None:
    first = keep(bench, "mine", **{"Idempotency-Key": "k"})
    assert (first[0], keep(bench, "mine", **{"Idempotency-Key": "k"})) == (201, (200, first[1]))
    status, refused = keep(bench, "mine", "/bandit")
    assert (status, "choose another name" in refused["detail"]) == (409, True)
    assert len(bench.get("/saved-views")["items"]) == 1


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "runs",
        "",
        "/runs\n",
        "javascript:alert(1)",
    ],
)
def test_an_address_leads_nowhere_else(bench: Bench, address: str) -> None:
    answer = bench.client.post(f"{API}/saved-views", json={"name": "trap", "address": address})
    problem(answer, 422, "address")


def test_there_is_an_end_to_views(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.routes.saved_views.MOST", 1)
    assert (keep(bench, "one")[0], keep(bench, "two")[0]) == (201, 409)
