"""An application that demands tokens, and clients that have one of each scope."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from backend import tokens
from backend.database import Database
from backend.main import create_app
from backend.scopes import Scope
from backend.settings import Settings
from tests.backend.studio_bench import API, LOCAL

OURS = {"origin": LOCAL}
"""What a browser says of a request that our own page sends."""


@dataclass
class Guarded:
    """A studio in which tokens are in force. `client` has none."""

    app: FastAPI
    client: TestClient
    database: Database
    settings: Settings
    texts: dict[str, str] = field(default_factory=dict)

    def token(self, name: str, scope: Scope, **options: Any) -> str:
        """Make a token on the database; its text."""
        with self.database.transaction() as session:
            row, text = tokens.create(session, name, scope, **options)
        self.texts[name] = row.uid
        return text

    def bearer(self, scope: Scope) -> dict[str, str]:
        """Headers with the token of a scope."""
        if scope.value not in self.__dict__:
            self.__dict__[scope.value] = self.token(f"a {scope} token", scope)
        return {"Authorization": f"Bearer {self.__dict__[scope.value]}"}

    def browser(self, text: str) -> TestClient:
        """A browser that has logged in with a token."""
        client = TestClient(self.app, LOCAL, raise_server_exceptions=False)
        answer = client.post(f"{API}/session", json={"token": text}, headers=OURS)
        assert answer.status_code == 200, answer.text
        return client


@pytest.fixture
def guarded(settings: Settings, database: Database) -> Iterator[Guarded]:
    strict = replace(settings, access="token")
    app = create_app(strict)
    with database.transaction() as session:
        tokens.create(session, "the first", Scope.ADMIN)
    with TestClient(app, LOCAL, raise_server_exceptions=False) as client:
        yield Guarded(app, client, database, strict)
