"""`python -m backend.openapi FILE`: write the OpenAPI document, the same bytes for the same code."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from backend.main import create_app
from backend.settings import Settings


def main(arguments: list[str]) -> int:
    """Write the document to the file named; returns the process's exit code."""
    if len(arguments) != 1:
        print("usage: python -m backend.openapi FILE", file=sys.stderr)  # noqa: T201
        return 2
    with tempfile.TemporaryDirectory() as folder:
        document = create_app(Settings(data_dir=folder)).openapi()
    # Paths keep the order of the code; the version would make every release a difference of the generated client.
    document["info"]["version"] = "1"
    Path(arguments[0]).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
