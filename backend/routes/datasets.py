"""Data sets: register, upload, look at, compare, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from starlette.requests import ClientDisconnect

from backend import (
    data_files,
    data_reader,
    data_sets,
    dataset_overlap,
    dataset_tokens,
    dataset_views,
    deposits,
    idempotency,
    preconditions,
    uploads,
)
from backend.errors import Conflict, Invalid, NotAFile
from backend.models_data import Dataset
from backend.preconditions import IfMatch
from backend.routes.context import Context, DryRun, IdempotencyKey, Studio
from backend.routes.paging import Cursor, pack, unpack_numbers
from backend.schemas.body import Storable
from backend.schemas.datasets import (
    DatasetCreate,
    DatasetDetail,
    DatasetList,
    DatasetOut,
    DatasetPatch,
    DatasetPreview,
    OverlapOut,
    PreviewRequest,
    TokensOut,
    TokensRequest,
    UploadOut,
)
from copg_core import datasets
from copg_core.errors import DataError
from copg_core.sources import DataSource, UploadData

router = APIRouter(prefix="/datasets", tags=["data"])


@router.get("", response_model=DatasetList)
def list_datasets(
    context: Context, cursor: Cursor = None, limit: Annotated[int, Query(ge=1, le=1000)] = 1000
) -> DatasetList:
    """The built-in task, on the first page, then what was registered or uploaded, newest first."""
    page = select(Dataset).where(Dataset.deleted_at.is_(None)).order_by(Dataset.id.desc()).limit(limit + 1)
    if cursor is not None:
        [last] = unpack_numbers(cursor, 1)
        page = page.where(Dataset.id < last)
    with context.database.snapshot() as session:
        rows = list(session.scalars(page))
        more, rows = len(rows) > limit, rows[:limit]
        runs = data_sets.use_counts(session, rows)
    first = [dataset_views.built_in()] if cursor is None else []
    return DatasetList(
        items=[*first, *(dataset_views.summary(row, runs.get(row.id, 0)) for row in rows)],
        next_cursor=pack(rows[-1].id) if more else None,
        upload_max_bytes=context.settings.upload_max_bytes,
    )


@router.post("", status_code=201, response_model=DatasetOut)
def create_dataset(body: DatasetCreate, context: Context, response: Response, key: IdempotencyKey = None) -> DatasetOut:
    """Register a data source under a name, after looking at it."""
    if isinstance(body.source, UploadData):
        raise Invalid.field("source.kind", "an uploaded file is registered by its upload")
    shape, rows, content_hash = _look_at(body.source)
    try:
        with context.database.transaction() as session:
            source = body.source.model_dump(mode="json")
            row, replayed = idempotency.once(
                session, "datasets", key, body,
                make=lambda: data_sets.add(session, body.name, source=source, shape=shape, rows=rows,
                                           content_hash=content_hash),
                find=lambda uid: data_sets.find(session, uid),
            )  # fmt: skip
            if replayed:
                response.status_code = 200
            return dataset_views.summary(row)
    except IntegrityError as error:
        raise Conflict(f"a data set named {body.name!r} is registered already") from error


def _look_at(source: DataSource) -> tuple[str, int | None, str | None]:
    """Shape, rows and content hash. Pairs are tried first: they serve every algorithm, demonstrations SFT alone, prompts runs whose
    policy writes every completion. A hub data set is read when a run starts, and only there. Raises Invalid."""
    if source.kind == "hub":
        return "hub", None, None
    try:
        seen = data_reader.preview(source, [("copg", False), ("sft", False), ("copg", True)], 1)
        return seen["shape"][:200], seen["counted_rows"], datasets.content_hash(source)
    except (data_reader.Unreadable, DataError) as error:
        raise Invalid.field("source", str(error)) from error


@router.post(
    "/upload",
    status_code=201,
    response_model=UploadOut,
    responses={200: {"model": UploadOut, "description": "The same bytes are there already: this is their data set."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_dataset(
    request: Request,
    response: Response,
    context: Context,
    filename: Annotated[
        str,
        Storable,
        Query(min_length=1, max_length=500, description="Its ending says the format.", examples=["pairs.jsonl.gz"]),
    ],
    name: Annotated[
        Annotated[str, Storable] | None,
        Query(min_length=1, max_length=200, description="Name of the data set. Empty: the file's name."),
    ] = None,
    key: IdempotencyKey = None,
) -> UploadOut:
    """Upload a file: its bytes are the body of the request, as `curl -T pairs.jsonl.gz -X POST` sends them. It is hashed and
    stored while it arrives, then analysed. Content that is there already answers 200 and `existing`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
        raise NotAFile(
            "send the bytes of the file as the body of the request, not a form: its name goes into `filename`"
        )
    safe = uploads.safe_name(filename)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > context.settings.upload_max_bytes:
        raise uploads.too_large(context.settings)
    try:
        received = await uploads.receive(context.settings, request.stream())
    except ClientDisconnect:
        raise Invalid.field("body", "the upload was interrupted") from None  # to nobody, but without a traceback
    try:
        made = await run_in_threadpool(_store, context, received, safe, filename, name, key)
    except OSError as error:
        raise uploads.cannot_store(error, context.settings) from error
    finally:
        received.path.unlink(missing_ok=True)
    response.status_code = 200 if made.existing else 201
    response.headers["Location"] = f"/api/v1/datasets/{made.id}"
    context.wake_data()
    return made


def _store(
    context: Studio, received: uploads.Received, safe: str, filename: str, name: str | None, key: str | None
) -> UploadOut:
    try:
        with context.database.transaction() as session:
            data_sets.lock_content(session, received.sha256)
            earlier = data_sets.same_content(session, received.sha256, safe)

            def make() -> Dataset:
                if earlier is not None:
                    return earlier
                return data_sets.add(
                    session,
                    name or data_sets.free_name(session, filename.replace("\\", "/").rsplit("/", 1)[-1]),
                    source={"kind": "upload"},
                    shape="",
                    content_hash=received.sha256,
                    file_name=safe,
                    bytes=received.bytes,
                    state=data_sets.ANALYSING,
                )

            asked = repr((received.sha256, filename, name))
            row, replayed = idempotency.once(
                session, "uploads", key, asked, make=make, find=lambda uid: data_sets.find(session, uid)
            )
            existing = replayed or earlier is not None
            if not existing or data_files.is_missing(row, context.settings):
                uploads.place(context.settings, received, str(row.file_name))
            if existing:
                deposits.bring_again(session, row)
                session.flush()
            return UploadOut(**dataset_views.summary(row).model_dump(), existing=existing)
    except IntegrityError as error:
        raise Conflict(f"a data set named {name or filename!r} is there already: give this one another name") from error


@router.get("/{dataset_id}", response_model=DatasetDetail)
def get_dataset(dataset_id: str, context: Context, response: Response) -> DatasetDetail:
    """One data set, also a deleted one that runs refer to: what was found in it, and who uses it."""
    with context.database.snapshot() as session:
        row = data_sets.get(session, dataset_id)
        response.headers["ETag"] = _tag(row)
        return dataset_views.detail(session, row)


def _tag(row: Dataset) -> str:
    return preconditions.tag_of(row.name, row.source)


@router.patch("/{dataset_id}", response_model=DatasetDetail)
def update_dataset(
    dataset_id: str, body: DatasetPatch, context: Context, response: Response, if_match: IfMatch = None
) -> DatasetDetail:
    """Rename it, or say how its columns are meant: then it is analysed again. Runs keep what they were made with."""
    changes = body.model_dump(exclude_none=True)
    name = changes.pop("name", None)
    try:
        with context.database.transaction() as session:
            row = data_sets.present(session, dataset_id, for_update=True)
            preconditions.check(if_match, _tag(row), f"data set {row.name!r}")
            if name is not None:
                row.name = name
            if changes:
                if row.source["kind"] not in ("upload", "file"):
                    raise Conflict(f"{row.name!r} is no file: its columns are chosen where a run is launched")
                row.source = {**row.source, **changes}
                _analyse_again(row)
            session.flush()
            changed = dataset_views.detail(session, row)
            response.headers["ETag"] = _tag(row)
    except IntegrityError as error:
        raise Conflict(f"a data set named {name!r} is registered already") from error
    context.wake_data()
    return changed


@router.post("/{dataset_id}/analyse", response_model=DatasetDetail)
def analyse_dataset(dataset_id: str, context: Context) -> DatasetDetail:
    """Look at the file (again). The answer comes at once; `state` says when it is done."""
    with context.database.transaction() as session:
        row = data_sets.present(session, dataset_id, for_update=True)
        if row.source["kind"] not in ("upload", "file"):
            raise Conflict(f"{row.name!r} is no file of this studio: it is read when a run starts")
        _analyse_again(row)
        session.flush()
        changed = dataset_views.detail(session, row)
    context.wake_data()
    return changed


def _analyse_again(row: Dataset) -> None:
    row.state, row.error, row.report, row.attempts, row.lease_until = data_sets.ANALYSING, None, None, 0, None
    row.rows_read = 0
    row.revision += 1


@router.post("/{dataset_id}/stop", response_model=DatasetDetail)
def stop_analysis(dataset_id: str, context: Context) -> DatasetDetail:
    """Give the analysis up. The data set can be used all the same: a run reads it with its own eyes."""
    with context.database.transaction() as session:
        row = data_sets.present(session, dataset_id, for_update=True)
        if row.state != data_sets.ANALYSING:
            raise Conflict(f"{row.name!r} is not being analysed")
        row.state, row.lease_until = data_sets.READY, None
        row.revision += 1
        session.flush()
        return dataset_views.detail(session, row)


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, context: Context, dry_run: DryRun = False) -> None:
    """Forget a data set; runs keep their configuration. An uploaded file is removed, but not while a run that has not
    ended needs it; its record stays as long as a run refers to it. A file that was registered by its path is not touched."""
    with context.database.transaction(rehearsed=dry_run) as session:
        row = data_sets.present(session, dataset_id, for_update=True)
        uid, sha256, file_name = row.uid, row.content_hash, row.file_name
        data_sets.delete(session, row)
    if dry_run:
        return
    data_files.keys_path(context.settings, uid).unlink(missing_ok=True)
    if file_name is not None and sha256 is not None:
        uploads.remove_unused(context.database, context.settings, sha256, file_name)


@router.post("/preview", response_model=DatasetPreview)
def preview_dataset(body: PreviewRequest, context: Context) -> DatasetPreview:
    """How a data source is understood for an algorithm, with its first rows."""
    try:
        source = data_files.as_file(context.database, context.settings, body.source)
        seen = data_reader.preview(source, [(body.algorithm, body.prompts_alone)], body.rows)
    except (data_reader.Unreadable, DataError) as error:
        raise Invalid.field("source", str(error)) from error
    if body.prompts_alone:
        seen["rows"] = [{"prompt": row["prompt"]} for row in seen["rows"]]
    return DatasetPreview.model_validate(seen)


@router.get("/{dataset_id}/overlap", response_model=OverlapOut)
def get_overlap(
    dataset_id: str,
    context: Context,
    other: Annotated[
        str, Query(alias="with", description="Id of the other data set, for example the validation rows.")
    ],
) -> OverlapOut:
    """Prompts that two analysed data sets share, as they are and without case, punctuation and spacing."""
    with context.database.snapshot() as session:
        first, second = data_sets.get(session, dataset_id), data_sets.get(session, other)
    return dataset_overlap.overlap(first, second, context.settings)


@router.post("/{dataset_id}/tokens", response_model=TokensOut)
def count_tokens(dataset_id: str, body: TokensRequest, context: Context) -> TokensOut:
    """Lengths of the first rows in the tokens of a model, and the share that its limits would cut. Stores nothing."""
    with context.database.snapshot() as session:
        row = data_sets.present(session, dataset_id)
        tokenizer, name = dataset_tokens.tokenizer_of(session, body.policy, context.settings.data_path)
    try:
        source = data_files.file_of(row, context.settings)
    except DataError as error:
        raise Conflict(str(error)) from error
    return dataset_tokens.count(source, tokenizer, name, body)
