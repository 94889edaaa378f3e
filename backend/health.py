"""`python -m backend.health URL`: whether the API there answers and its database does, for a container's health check.

A broker that is away, or no worker, makes the studio slower and not ill: restarting the API would not bring them back.
"""

from __future__ import annotations

import json
import sys
import urllib.request


def problem(url: str, timeout: float = 5.0) -> str | None:
    """What is wrong with the API at `url`, as a sentence; None where it is well."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/v1/health", timeout=timeout) as answer:
            health = json.load(answer)
    except (OSError, ValueError) as error:
        return f"{url} does not answer: {error}"
    return f"the database is down: {health['detail']}" if health["database"] != "ok" else None


def main() -> int:
    found = problem(sys.argv[1])
    if found is not None:
        sys.stderr.write(f"{found}\n")
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
