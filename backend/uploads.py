"""Files that people upload: received in pieces, hashed on the way, put in their place by one rename.

    <data>/datasets/.uploads/<random>.part    while it arrives
    <data>/datasets/<sha256>/<name>           afterwards, once for each content

A file is put there and taken away inside a transaction that holds the lock on its content, so that the row and the file agree.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import re
import time
import unicodedata
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from backend import data_sets
from backend.database import Database
from backend.errors import Invalid, NoSpace, TooLarge
from backend.models_data import Dataset
from backend.settings import Settings
from copg_core.datasets.files import FORMATS, format_of

_log = logging.getLogger(__name__)
_PIECE = 1 << 20
STALE_SECONDS = 3600.0
"""An upload that has not grown for so long was given up; so was a folder of content that no row has named for so long."""


@dataclass(frozen=True)
class Received:
    """A file that has arrived whole, not in its place yet."""

    path: Path
    sha256: str
    bytes: int


def safe_name(given: str) -> str:
    """A file name made of letters, digits, dots, dashes and underscores, whose ending says a format. Raises Invalid.

    >>> safe_name("../../My päirs (1).jsonl.gz")
    'My_pairs_1_.jsonl.gz'
    """
    base = re.split(r"[/\\]", given)[-1]
    plain = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip(".-")
    kind = format_of(Path(name))
    if kind is None or name.lower() == kind.lstrip("."):
        raise Invalid.field("filename", f"the name of the file must end in {FORMATS}, not {base[-40:]!r}")
    ending = name[-len(kind) :]
    return name[: -len(kind)][: 120 - len(kind)] + ending


def too_large(settings: Settings) -> TooLarge:
    """The refusal of a file beyond the limit."""
    limit = settings.upload_max_bytes
    shown = f"{limit / 1e6:,.0f} MB" if limit >= 1e6 else f"{limit:,} bytes"
    return TooLarge(
        f"the file is larger than {shown}, the limit for uploads here: split it or compress it, or let COPG_UPLOAD_MAX_BYTES "
        "be raised; a file on the studio's own machine can be registered by its path instead"
    )


async def receive(settings: Settings, pieces: AsyncIterator[bytes]) -> Received:
    """Write what arrives to a file with a temporary name. Whatever goes wrong, nothing of it is left.

    Raises TooLarge beyond the limit, Invalid where nothing arrives, NoSpace where it cannot be stored.
    """
    folder = settings.datasets_path / ".uploads"
    path = folder / f"{uuid.uuid4().hex}.part"
    state = hashlib.sha256()
    size = 0
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        stream = await asyncio.to_thread(path.open, "xb")
        try:
            held = bytearray()
            async for piece in pieces:
                size += len(piece)
                if size > settings.upload_max_bytes:
                    raise too_large(settings)
                held += piece
                if len(held) >= _PIECE:
                    await asyncio.to_thread(_keep, stream, state, bytes(held))
                    held.clear()
            await asyncio.to_thread(_keep, stream, state, bytes(held), last=True)
        finally:
            await asyncio.shield(asyncio.to_thread(stream.close))
        if size == 0:
            raise Invalid.field("body", "the file is empty: send its bytes as the body of the request")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_store(error, settings) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Received(path, state.hexdigest(), size)


def _keep(stream: object, state: object, piece: bytes, last: bool = False) -> None:
    stream.write(piece)  # type: ignore[attr-defined]
    state.update(piece)  # type: ignore[attr-defined]
    if last:
        stream.flush()  # type: ignore[attr-defined]
        os.fsync(stream.fileno())  # type: ignore[attr-defined]


def cannot_store(error: OSError, settings: Settings) -> NoSpace:
    """What a failing disk means for the person who uploads."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace("the studio's disk is full: free some space in its data folder, then upload the file again")
    _log.error("uploads: %s", error)
    return NoSpace(f"the studio cannot write to its data folder ({error.strerror}): its administrator can mend that")


def place(settings: Settings, received: Received, name: str) -> None:
    """Give the file its place. Inside the transaction that makes its row, under the lock on its content."""
    home = settings.datasets_path / received.sha256
    home.mkdir(parents=True, exist_ok=True)
    received.path.replace(home / name)


def remove_unused(database: Database, settings: Settings, sha256: str, name: str | None = None) -> None:
    """Remove the files of a content that no data set has any more; where there is one, at least the file of another name."""
    home = settings.datasets_path / sha256
    with database.transaction() as session:
        data_sets.lock_content(session, sha256)
        kept = set(
            session.scalars(
                select(Dataset.file_name).where(Dataset.content_hash == sha256, Dataset.deleted_at.is_(None))
            )
        )
        for path in home.glob("*"):
            if path.name not in kept and name in (None, path.name):
                path.unlink(missing_ok=True)
        if home.is_dir() and not any(home.iterdir()):
            home.rmdir()


def clean(database: Database, settings: Settings) -> None:
    """Remove what uploads that were given up have left: temporary files, and content that got no row."""
    try:
        before = time.time() - STALE_SECONDS
        for path in (settings.datasets_path / ".uploads").glob("*.part"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
        for home in settings.datasets_path.glob("[0-9a-f]" * 64):
            if home.stat().st_mtime < before:
                remove_unused(database, settings, home.name)
    except OSError as error:
        _log.warning("uploads cannot be tidied: %s", error)
