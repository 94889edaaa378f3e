"""`copg tokens`: make, list and revoke access tokens on the database itself, which is how the first one is made.

It needs no running studio: who can write to the database could let himself in anyway. A studio that runs notices at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def _data_dir(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="The studio's folder; also COPG_DATA_DIR, COPG_DATABASE_URL.",
    )(command)


@click.group()
def tokens() -> None:
    """Who may come in: access tokens of this machine's studio."""


@tokens.command()
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["read", "launch", "admin"]), default="launch", show_default=True,
    help="read: look; launch: start, change and stop runs too; admin: everything.",
)  # fmt: skip
@click.option("--days", type=click.FloatRange(0, 3650, min_open=True), help="How long it is valid; else until revoked.")
@_data_dir
def create(name: str, scope: str, days: float | None, data_dir: Path | None) -> None:
    """Make a token called NAME and print it, for the only time."""
    from backend import tokens as kept
    from backend.scopes import Scope

    if not 0 < len(name) <= 80 or name != name.strip() or not name.isprintable() or name == "admin":
        raise click.ClickException("a name has 1 to 80 characters, no space at its ends, and is not `admin`")
    with _session(data_dir, make=True) as (session, where):
        first = not kept.in_force(session)
        row, text = kept.create(session, name, Scope(scope), days=days, by="command line")
    click.echo(text)
    click.echo(f"Keep it: it is not shown again. Revoke it with `copg tokens revoke {row.uid}`.", err=True)
    click.echo(f"It is in {where}.", err=True)
    if first:
        click.echo("From now on everybody needs a token at the studio that uses it, on this machine too.", err=True)


@tokens.command("list")
@_data_dir
def list_tokens(data_dir: Path | None) -> None:
    """List every token that was ever made, newest first. The secrets are not kept, so that they cannot be shown."""
    from backend import tokens as kept

    with _session(data_dir) as (session, _):
        found = kept.listed(session)
    rows = [("id", "scope", "created", "last used", "ends", "name")]
    for row in found:
        ends = f"revoked {_day(row.revoked_at)}" if row.revoked_at else _day(row.expires_at)
        rows.append((row.uid, row.scope, _day(row.created_at), _day(row.used_at), ends, row.name))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for cells in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())


@tokens.command()
@click.argument("token_id")
@_data_dir
def revoke(token_id: str, data_dir: Path | None) -> None:
    """End the token with this id, and the browser sessions that were opened with it."""
    from backend import tokens as kept

    with _session(data_dir) as (session, _):
        row = kept.revoke(session, token_id)
        left = kept.in_force(session)
    if row is None:
        raise click.ClickException(f"there is no token {token_id!r}: `copg tokens list` shows them")
    click.echo(f"{row.uid}  {row.name}  revoked")
    if not left:
        click.echo("No token is left: a studio that listens to this machine alone asks for none.", err=True)


@contextmanager
def _session(data_dir: Path | None, *, make: bool = False) -> Iterator[tuple[Session, str]]:
    """A transaction on the studio's database, brought to this version's schema first, and the database's name. Only with
    `make` is a database that is not there made. Errors become one line."""
    from sqlalchemy.exc import SQLAlchemyError

    from backend.database import Database
    from backend.migrations import SchemaError, upgrade
    from backend.settings import Settings

    try:
        settings = Settings.from_environment()
        if data_dir is not None:
            settings = replace(settings, data_dir=str(data_dir))
        url = settings.effective_database_url
        where, there = _find(url)
        if not there and not make:
            raise click.ClickException(
                f"there is no studio in {where}: name its folder with --data-dir or COPG_DATA_DIR, or its COPG_DATABASE_URL"
            )
        upgrade(url)
        database = Database(url)
        try:
            with database.transaction() as session:
                yield session, where if there else f"{where}, which is new"
        finally:
            database.close()
    except (ValueError, SchemaError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise click.ClickException(f"the database cannot be used: {cause}") from error


def _find(url: str) -> tuple[str, bool]:
    """A database's name without its password, and whether a studio's tables are in it. Makes nothing."""
    from sqlalchemy import inspect
    from sqlalchemy.engine import make_url

    from backend.database import create_database_engine

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        where = str(parsed.database)
        if not Path(where).is_file():
            return where, False
    else:
        where = parsed.render_as_string(hide_password=True)
    engine = create_database_engine(url)
    try:
        return where, inspect(engine).has_table("run")
    finally:
        engine.dispose()


def _day(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
