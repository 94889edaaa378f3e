"""What each request needs to be allowed: the one place where that is said.

A scope holds all that is below it: read < launch < admin. The rule goes by the method; exceptions are listed.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Scope(StrEnum):
    """What a token may do. `public` needs no token."""

    PUBLIC = "public"
    READ = "read"
    LAUNCH = "launch"
    ADMIN = "admin"

    def covers(self, needed: Scope) -> bool:
        """Whether who has this scope may do what needs `needed`."""
        return _ORDER.index(self) >= _ORDER.index(needed)

    def held(self) -> list[str]:
        """The scopes that this one holds, as a page asks for them."""
        return [scope.value for scope in _ORDER[1:] if self.covers(scope)]


_ORDER = (Scope.PUBLIC, Scope.READ, Scope.LAUNCH, Scope.ADMIN)

BY_METHOD = {
    "GET": Scope.READ,
    "HEAD": Scope.READ,
    "POST": Scope.LAUNCH,
    "PUT": Scope.LAUNCH,
    "PATCH": Scope.LAUNCH,
    "DELETE": Scope.LAUNCH,
}
_WRITES = "POST|PUT|PATCH|DELETE"

EXCEPTIONS: dict[tuple[str, str], Scope] = {
    # (methods, address below /api/v1): each a regular expression that must match the whole. The first that fits counts.
    ("GET|HEAD", "/health"): Scope.PUBLIC,  # load balancers and health checks carry no token
    ("POST", "/session"): Scope.PUBLIC,  # it is where one logs in
    ("DELETE", "/session"): Scope.READ,  # everybody may leave
    ("POST", "/runs/estimate"): Scope.READ,  # these compute an answer and change nothing
    ("POST", "/sweeps/preview"): Scope.READ,
    ("POST", "/bandit(/.*)?"): Scope.READ,
    ("POST", "/datasets/preview"): Scope.READ,
    ("POST", "/datasets/[^/]+/tokens"): Scope.READ,  # neither does this
    (".*", "/tokens(/.*)?"): Scope.ADMIN,
    (".*", "/webhooks(/.*)?"): Scope.ADMIN,  # to read them too: their addresses may hold secrets
    (_WRITES, "/(queue|workers|storage)(/.*)?"): Scope.ADMIN,
}
_COMPILED = [(re.compile(methods), re.compile(path), scope) for (methods, path), scope in EXCEPTIONS.items()]


def needed(method: str, path: str) -> Scope:
    """What a request needs. `path` stands below /api/v1. A new operation is covered by its method, a new method by the highest."""
    for methods, pattern, scope in _COMPILED:
        if methods.fullmatch(method) and pattern.fullmatch(path):
            return scope
    return BY_METHOD.get(method, Scope.ADMIN)
