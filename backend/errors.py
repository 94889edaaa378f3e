"""Every error as RFC 9457 problem details: one shape, whatever went wrong and wherever.

    {"type": "urn:copg:problem:invalid", "title": "...", "status": 422, "detail": "...", "instance": "/api/v1/runs",
     "errors": [{"field": "config.beta", "message": "..."}]}

ProblemError
 ├── NotFound      404   no such run, pipeline, data set, file
 ├── Conflict      409   the state forbids it, a name is taken, a key was used for another request
 ├── PreconditionFailed 412  somebody else has edited it meanwhile
 ├── TooLarge      413   a body beyond the limit
 ├── NotAFile      415   a form where the bytes of a file are expected
 ├── Invalid       422   with the field that a form can find
 └── NoSpace       507   the disk is full, or the data folder cannot be written

Exceptions of the other rooms are translated here too; what nobody foresaw is a 500 without internals, and its traceback
goes to the log.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from backend import logs
from backend.field_words import field_errors
from backend.run_errors import (
    AwaitedError,
    IdempotencyConflict,
    IdempotencyGone,
    ParentError,
    RunNotFound,
    StateConflict,
)
from backend.schemas.problems import FieldError, Problem
from backend.store import Unreachable

log = logging.getLogger(__name__)

KINDS = {
    400: "bad-request", 401: "unauthenticated", 403: "forbidden", 404: "not-found", 405: "method-not-allowed",
    409: "conflict", 410: "gone", 412: "edited-meanwhile", 413: "too-large", 415: "unsupported-media-type",
    416: "range-not-satisfiable", 422: "invalid", 429: "too-many-requests", 500: "internal", 503: "unavailable", 507: "no-space",
}  # fmt: skip
"""What `type` says by default of each status; `state-conflict` and `idempotency-conflict` are further kinds of 409."""

_NO_JSON = "the body has to be JSON and to say so: send the header `Content-Type: application/json`"


def problem_type(kind: str) -> str:
    """The stable name of a kind of problem, which programs may rely on.

    >>> problem_type("not-found")
    'urn:copg:problem:not-found'
    """
    return f"urn:copg:problem:{kind}"


class ProblemError(Exception):
    """An error that the client is told about."""

    status = HTTPStatus.BAD_REQUEST

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)


class NotFound(ProblemError):  # noqa: N818 - reads as what it answers
    """What the address names does not exist."""

    status = HTTPStatus.NOT_FOUND


class Conflict(ProblemError):  # noqa: N818
    """The present state forbids it."""

    status = HTTPStatus.CONFLICT


class TooLarge(ProblemError):  # noqa: N818
    """The body is larger than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotAFile(ProblemError):  # noqa: N818
    """The body is of another kind than is expected."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class NoSpace(ProblemError):  # noqa: N818
    """What was sent cannot be stored."""

    status = HTTPStatus.INSUFFICIENT_STORAGE


class Busy(ProblemError):  # noqa: N818
    """Others are before it; the same request may be sent again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class PreconditionFailed(ProblemError):  # noqa: N818
    """Somebody else has changed it meanwhile; `errors` say what."""

    status = HTTPStatus.PRECONDITION_FAILED


class Invalid(ProblemError):  # noqa: N818
    """The request is understood and wrong; `errors` say which fields."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY

    @classmethod
    def field(cls, field: str, message: str) -> Invalid:
        """One wrong field."""
        return cls(message, [FieldError(field=field, message=message)])


# What is asked about a form before anything is made: whoever prefers so has its problems as an answer, 200 with the problem document.
DRAFTS = frozenset({"/api/v1/runs/estimate", "/api/v1/sweeps/preview", "/api/v1/bandit/figures"})
LENIENT = "handling=lenient"


def invalid_fields(errors: Sequence[FieldError]) -> Invalid:
    """An Invalid whose sentence lists the fields, for people who read only `detail`."""
    return Invalid("; ".join(f"{item.field or 'body'}: {item.message}" for item in errors[:5]), errors)


def refusal(
    path: str,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[FieldError] = (),
    kind: str | None = None,
) -> JSONResponse:
    """A problem document, also for where no exception handler reaches."""
    problem = Problem(
        type=problem_type(kind or KINDS.get(status, f"status-{status}")),
        title=HTTPStatus(status).phrase,
        status=status,
        detail=_clean(detail),
        instance=path,
        errors=[FieldError(field=_clean(item.field), message=_clean(item.message)) for item in errors],
    )
    return JSONResponse(
        problem.model_dump(), status, media_type="application/problem+json", headers=dict(headers or {})
    )


def _answer(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
    kind: str | None = None,
) -> JSONResponse:
    answer = refusal(request.url.path, status, detail, headers, errors, kind)
    # A browser logs every refusal as a failure of the page, and a form that is asked about while somebody types is none.
    if status == 422 and request.url.path in DRAFTS and request.headers.get("prefer") == LENIENT:
        answer.status_code = 200
        answer.headers["Preference-Applied"] = LENIENT
    return answer


def _clean(text: str) -> str:
    """The text as UTF-8 can carry it: a message may quote what somebody sent, and that may hold half a character."""
    return text.encode("utf-8", "replace").decode()


def _body_of(request: Request) -> object:
    """The type of the request's body, as its route is annotated."""
    found = get_type_hints(request.scope["endpoint"])
    return next((one for name, one in found.items() if name in {"body", "config"}), None)


def _unread(cause: BaseException | None) -> str | None:
    """Why a body could not be read as JSON; None where that is not what went wrong."""
    if isinstance(cause, RecursionError):
        return "the body is nested too deeply"
    if isinstance(cause, UnicodeDecodeError):
        return "the body is not UTF-8, in which JSON is written"
    if isinstance(cause, ValueError):
        most = f"{sys.get_int_max_str_digits():,}"
        return (
            f"a whole number in the body has more than {most} digits: give a smaller one, or write it with an exponent"
        )
    return None


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(ProblemError)
    def on_problem(request: Request, error: ProblemError) -> JSONResponse:
        return _answer(request, error.status, error.detail, error.errors)

    @app.exception_handler(RequestValidationError)
    def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if isinstance(error.body, bytes):  # FastAPI gives it to the body's model as it came
            return _answer(request, 415, _NO_JSON)
        problem = invalid_fields(field_errors(error.errors(), within=_body_of(request)))
        return _answer(request, problem.status, problem.detail, problem.errors)

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: HTTPException) -> JSONResponse:
        if (why := _unread(error.__cause__)) is not None:
            return _answer(request, 422, why)
        detail = {404: f"nothing at {request.url.path}", 405: f"{request.method} is not allowed here"}.get(
            error.status_code, error.detail
        )
        return _answer(request, error.status_code, detail, headers=error.headers)

    @app.exception_handler(RunNotFound)
    def on_missing(request: Request, error: RunNotFound) -> JSONResponse:
        return _answer(request, 404, str(error))

    @app.exception_handler(StateConflict)
    def on_conflict(request: Request, error: StateConflict) -> JSONResponse:
        return _answer(request, 409, str(error), kind="state-conflict")

    @app.exception_handler(IdempotencyConflict)
    def on_reused_key(request: Request, error: IdempotencyConflict) -> JSONResponse:
        return _answer(request, 409, str(error), kind="idempotency-conflict")

    @app.exception_handler(IdempotencyGone)
    def on_gone(request: Request, error: IdempotencyGone) -> JSONResponse:
        return _answer(request, 410, str(error))

    @app.exception_handler(ParentError)
    def on_parent(request: Request, error: ParentError) -> JSONResponse:
        problem = Invalid.field(f"config.{error.field}", str(error))
        return _answer(request, problem.status, problem.detail, problem.errors)

    @app.exception_handler(AwaitedError)
    def on_awaited(request: Request, error: AwaitedError) -> JSONResponse:
        problem = Invalid.field(error.field, str(error))
        return _answer(request, problem.status, problem.detail, problem.errors)

    @app.exception_handler(DataError)
    def on_unstorable(request: Request, error: DataError) -> JSONResponse:
        log.info("refused by the database: %s", error.orig)
        return _answer(request, 422, "a value holds a character or a number that the database cannot store")

    @app.exception_handler(IntegrityError)
    def on_race(request: Request, error: IntegrityError) -> JSONResponse:
        log.warning("two requests at once: %s", error.orig)
        return _answer(request, 409, "something that this refers to was changed at the same moment; try again")

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    def on_database(request: Request, error: Exception) -> JSONResponse:
        cause = error.orig if isinstance(error, DBAPIError) else error
        log.error("database: %s", cause)
        return _answer(
            request, 503, "the database cannot be reached or is busy; try again", headers={"Retry-After": "2"}
        )

    @app.exception_handler(UnicodeError)
    def on_half_a_character(request: Request, error: UnicodeError) -> JSONResponse:
        return _answer(request, 422, "a value holds half a character (a lone surrogate), which no text can")

    @app.exception_handler(Unreachable)
    def on_store(request: Request, error: Unreachable) -> JSONResponse:
        log.error("store: %s", error)
        return _answer(request, 503, f"{error}: try again", headers={"Retry-After": "10"})

    @app.exception_handler(Exception)
    def on_unforeseen(request: Request, error: Exception) -> JSONResponse:
        # Starlette's outermost middleware logs the traceback and passes the exception on to the server.
        name = logs.field("request") or ""  # this answer is made outside of the middleware that adds it to all others
        return _answer(
            request, 500, "something went wrong inside; the server's log says what", headers={"X-Request-ID": name}
        )
