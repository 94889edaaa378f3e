"""`python -m backend.migrations`: bring the database of the settings to this version's schema, once, before anything serves."""

from __future__ import annotations

import sys

from sqlalchemy.exc import SQLAlchemyError

from backend.migrations import SchemaError, upgrade
from backend.settings import Settings


def main() -> int:
    """Exit code 1 with a sentence where the database cannot be used."""
    try:
        upgrade(Settings.from_environment().effective_database_url)
    except (SchemaError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        sys.stderr.write(f"the database cannot be used: {cause}\n")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
