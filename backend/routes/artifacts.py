"""Checkpoints and artifacts: listed with sizes and hashes, downloaded by id, pinned, deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend import archives, artifacts, recorded, runs, store, views
from backend.archives import Entry, Format
from backend.database import NOW
from backend.errors import Conflict, Invalid, NotFound, refusal
from backend.export import NotExportable, Weights, export
from backend.models import Checkpoint, Evaluation, Run
from backend.models_artifacts import Artifact, ArtifactFile
from backend.routes.context import Context, DryRun, Studio
from backend.schemas.artifacts import (
    ArtifactFileOut,
    ArtifactList,
    ArtifactOut,
    CheckpointList,
    CheckpointOut,
    CheckpointPatch,
    OutputFile,
)
from backend.states import TERMINAL, RunState

router = APIRouter(tags=["artifacts"])
_BINARY = "application/octet-stream"


@router.get("/runs/{run_id}/checkpoints", response_model=CheckpointList)
def get_checkpoints(run_id: str, context: Context) -> CheckpointList:
    """Checkpoints that are kept, oldest first."""
    with context.database.snapshot() as session:
        return _checkpoints(session, runs.get(session, run_id))


def _checkpoints(session: Session, run: Run) -> CheckpointList:
    rows = session.execute(
        select(Checkpoint, Evaluation.reward_mean)
        .outerjoin(Evaluation, (Evaluation.run_id == Checkpoint.run_id) & (Evaluation.step == Checkpoint.step))
        .where(Checkpoint.run_id == run.id)
        .order_by(Checkpoint.step, Checkpoint.fence)
    ).all()
    return CheckpointList(
        items=[
            CheckpointOut(
                step=row.step, path=row.path, bytes=row.bytes, created_at=views.moment(row.created_at),
                pinned=row.pinned, reward=reward,
            )
            for row, reward in rows
        ]
    )  # fmt: skip


@router.patch("/runs/{run_id}/checkpoints/{step}", response_model=CheckpointList)
def pin_checkpoint(run_id: str, step: int, body: CheckpointPatch, context: Context) -> CheckpointList:
    """Pin the checkpoint of a step, so that no retention takes it away, or let go of it."""
    with context.database.transaction() as session:
        run = _locked(session, run_id)
        _at_step(session, run, step)
        session.execute(
            update(Checkpoint).where(Checkpoint.run_id == run.id, Checkpoint.step == step).values(pinned=body.pinned)
        )
        return _checkpoints(session, run)


@router.delete("/runs/{run_id}/checkpoints/{step}", status_code=204)
def delete_checkpoint(
    run_id: str, step: int, context: Context, later: BackgroundTasks, dry_run: DryRun = False
) -> None:
    """Delete the checkpoint of a step with its files. A run that has not ended keeps its newest; a pinned one stays."""
    with context.database.transaction(rehearsed=dry_run) as session:
        run = _locked(session, run_id)
        found = _at_step(session, run, step)
        if any(row.pinned for row in found):
            raise Conflict(f"the checkpoint of step {step} is pinned: unpin it before deleting it")
        if RunState(run.state) not in TERMINAL and step == run.checkpoint_step:
            raise Conflict(f"run {run.name!r} is {run.state} and goes on from step {step}: cancel it first")
        for path in {row.path for row in found}:
            recorded.forget_checkpoint(session, run.id, path)
        uid = run.uid
    if not dry_run:
        later.add_task(artifacts.remove_quietly, context.database, context.settings, uid)


def _locked(session: Session, run_id: str) -> Run:
    """The run, its row held until the commit: no worker registers a checkpoint or applies retention meanwhile."""
    run = runs.get(session, run_id)
    session.execute(update(Run).where(Run.id == run.id).values(rev=Run.rev + 1, changed_at=NOW))
    return runs.get(session, run_id)


def _at_step(session: Session, run: Run, step: int) -> list[Checkpoint]:
    if not 0 <= step < 2**31:
        raise NotFound(f"run {run.name!r} has no checkpoint of step {step}")
    found = session.scalars(select(Checkpoint).where(Checkpoint.run_id == run.id, Checkpoint.step == step)).all()
    if not found:
        raise NotFound(f"run {run.name!r} has no checkpoint of step {step}")
    return list(found)


@router.get("/runs/{run_id}/artifacts", response_model=ArtifactList)
def get_artifacts(run_id: str, context: Context) -> ArtifactList:
    """Everything that the run left behind, with sizes and hashes; `items` are the files of the trained model."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        rows = artifacts.of_run(session, run.id)
        files = artifacts.files_of(session, [row.id for row in rows])
    listed = [_artifact(row, files[row.id]) for row in rows]
    output = next((item for item in listed if item.kind == "output" and _stands(run, item.url)), None)
    if output is not None:
        items = [OutputFile(name=file.name, bytes=file.bytes, sha256=file.sha256) for file in output.files]
    else:
        items = [
            OutputFile(name=path.relative_to(folder).as_posix(), bytes=path.stat().st_size)
            for folder in [_folder(context, run.output_path)]
            if folder is not None
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
    return ArtifactList(path=run.output_path, items=items, artifacts=listed)


def _stands(run: Run, url: str) -> bool:
    return run.output_path is not None and store.url_of(run.output_path) == url


def _artifact(row: Artifact, files: list[ArtifactFile]) -> ArtifactOut:
    return ArtifactOut(
        id=row.uid, kind=row.kind, name=row.name, step=row.step, attempt=row.fence, bytes=row.bytes, sha256=row.sha256,
        url=row.url, created_at=views.moment(row.created_at),
        files=[
            ArtifactFileOut(number=one.number, name=one.name or row.name, bytes=one.bytes, sha256=one.sha256)
            for one in files
        ],
    )  # fmt: skip


@router.get("/runs/{run_id}/artifacts/{name:path}", response_class=Response)
def download_output_file(run_id: str, name: str, context: Context, request: Request) -> Response:
    """One file of the trained model by its name. Ranges of bytes may be asked for."""
    with context.database.snapshot() as session:
        run = runs.get(session, run_id)
        known = artifacts.registered(session, [run.output_path])
    if run.output_path is None:
        raise NotFound("this run has no output yet")
    if any(part in ("..", ".") for part in name.split("/")) or name.startswith("/") or "\0" in name:
        raise Invalid.field("name", "leads out of the run's output folder")
    kept = known.get(run.output_path)
    sha = next((file.sha256 for file in kept.files if file.name == name), None) if kept else None
    folder = _folder(context, run.output_path)
    if (kept is not None and sha is None) or (folder is not None and not _inside(folder, name).is_file()):
        raise NotFound(f"the run's output has no file {name!r}")
    return _serve(f"{store.standing(run.output_path, context.settings.data_path)}/{name}", name, sha, request)


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):  # a link that leads out
        raise Invalid.field("name", "leads out of the run's output folder")
    return path


def _folder(context: Studio, location: str | None) -> Path | None:
    path = store.as_path(store.standing(location, context.settings.data_path)) if location else None
    return path if path is not None and path.is_dir() else None


@router.get("/artifacts/{artifact_id}", response_model=ArtifactOut)
def get_artifact(artifact_id: str, context: Context) -> ArtifactOut:
    """One artifact with its files."""
    return _artifact(*_load(context, artifact_id))


@router.get("/artifacts/{artifact_id}/files/{number}", response_class=Response)
def download_file(artifact_id: str, number: int, context: Context, request: Request) -> Response:
    """One file by its number. Ranges of bytes may be asked for; the ETag is the SHA-256 of the content."""
    row, files = _load(context, artifact_id)
    file = next((one for one in files if one.number == number), None)
    if file is None:
        raise NotFound(f"artifact {row.name!r} has no file number {number}")
    place = store.standing(row.url, context.settings.data_path)
    location = f"{place}/{file.name}" if file.name else place
    return _serve(location, file.name or row.name, file.sha256, request)


@router.get("/artifacts/{artifact_id}/archive", response_class=Response)
def download_artifact(
    artifact_id: str,
    context: Context,
    format: Annotated[Format, Query(description="Both are streamed; neither is compressed.")] = "zip",  # noqa: A002
) -> Response:
    """All files of an artifact as one archive."""
    row, files = _load(context, artifact_id)
    base = store.standing(row.url, context.settings.data_path)
    places = [(one, f"{base}/{one.name}" if one.name else base) for one in files]
    for _, place in places:
        _check_is_there(place)
    entries = [
        archives.stored(f"{row.name}/{one.name}" if one.name else row.name, place, one.bytes, row.created_at)
        for one, place in places
    ]
    return archive_response(entries, row.name, format)


@router.get("/runs/{run_id}/export", response_class=Response)
def export_run(
    run_id: str,
    context: Context,
    weights: Annotated[
        Weights,
        Query(
            description="Of a run with LoRA: its adapters, or merged. auto: adapters where the base is a hub's model."
        ),
    ] = "auto",
    format: Annotated[Format, Query(description="Both are streamed; neither is compressed.")] = "zip",  # noqa: A002
) -> Response:
    """The trained model as a folder that transformers loads, with a model card, the curve, and the TOML that makes it again."""
    with context.database.snapshot() as session:
        try:
            made = export(session, runs.get(session, run_id), context.settings.data_path, weights)
        except NotExportable as error:
            raise Conflict(str(error)) from error
    return archive_response(made.entries, made.folder, format)


def archive_response(entries: list[Entry], name: str, form: Format) -> Response:
    """An archive as an answer; what goes wrong in the middle cuts the connection, so that it is not taken for whole."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(archives.stream(entries, form), media_type=archives.MEDIA[form], headers=headers)


def _load(context: Context, artifact_id: str) -> tuple[Artifact, list[ArtifactFile]]:
    with context.database.snapshot() as session:
        row = session.scalars(select(Artifact).where(Artifact.uid == artifact_id)).one_or_none()
        if row is None:
            raise NotFound(f"no artifact has the id {artifact_id!r}")
        return row, artifacts.files_of(session, [row.id])[row.id]


def _check_is_there(location: str) -> int:
    try:
        return store.size(location)
    except FileNotFoundError as error:
        raise NotFound(
            f"{location} is registered, but it is not there any more, or stands on another machine"
        ) from error


def _serve(location: str, name: str, sha256: str | None, request: Request) -> Response:
    headers = {"ETag": f'"{sha256}"'} if sha256 else {}
    filename = name.rsplit("/", 1)[-1]
    path = store.as_path(location)
    size = _check_is_there(location)
    tag = headers.get("ETag")
    if tag is not None and tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    # FileResponse answers what it does not understand in a shape of its own, and RFC 9110 lets it be ignored.
    wanted = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if wanted is None and path is not None and "range" not in request.headers:
        return FileResponse(path, filename=filename, media_type=_BINARY, headers=headers)
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": f'attachment; filename="{filename}"'}
    if wanted is None or request.headers.get("if-range", tag) != tag:
        return StreamingResponse(
            store.read(location), media_type=_BINARY, headers={**headers, "Content-Length": str(size)}
        )
    part = _range(wanted[1], wanted[2], size)
    if part is None:
        detail = f"the file has {size:,} bytes: ask for a part of them"
        return refusal(request.url.path, 416, detail, {"Content-Range": f"bytes */{size}"})
    first, last = part
    headers |= {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Length": str(last - first + 1)}
    blocks: Iterator[bytes] = store.read(location, first, last - first + 1)
    return StreamingResponse(blocks, status_code=206, media_type=_BINARY, headers=headers)


_RANGE = re.compile(r"bytes=(?!-$)([0-9]{0,18})-([0-9]{0,18})")


def _range(first: str, last: str, size: int) -> tuple[int, int] | None:
    """First and last byte of `bytes=2-5`, `bytes=2-` or `bytes=-5`; None for what the file does not have.

    >>> _range("2", "", 10), _range("", "3", 10), _range("2", "99", 10), _range("10", "", 10), _range("5", "2", 10)
    ((2, 9), (7, 9), (2, 9), None, None)
    """
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) and size else None
    begin, end = int(first), min(int(last), size - 1) if last else size - 1
    return (begin, end) if begin <= end else None
