"""Who may come in: tokens, and the sessions of browsers that have logged in with one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from backend import idempotency, tokens, who
from backend.doorkeeper import ADMIN_NAME, Doorkeeper, Refused
from backend.errors import Conflict, Invalid, NotFound, refusal
from backend.gate import cookie, cookie_name, session_cookie
from backend.models_security import AccessToken
from backend.origins import Origins
from backend.routes.context import Context, IdempotencyKey
from backend.schemas.body import Body
from backend.scopes import Scope
from backend.views import moment

router = APIRouter(tags=["access"])


def _not_public(scope: Scope) -> Scope:
    if scope is Scope.PUBLIC:
        raise ValueError("a token needs scope read, launch or admin")
    return scope


class TokenCreate(Body):
    """A token to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly", "scope": "launch"}]})
    name: str = Field(
        min_length=1, max_length=80, pattern=r"^\S(.*\S)?$",
        description="Who or what will carry it; stands in the history of runs.", examples=["nightly", "Ada's laptop"],
    )  # fmt: skip
    scope: Annotated[Scope, AfterValidator(_not_public)] = Field(
        Scope.LAUNCH, description="`read`: look; `launch`: start, change and stop runs too; `admin`: everything."
    )
    days: float | None = Field(
        None, gt=0, le=3650, description="How long it is valid, in days. Empty: until it is revoked.", examples=[90]
    )


class TokenOut(BaseModel):
    """A token without its secret."""

    id: str = Field(description="Its public part.", examples=["5f0c29d1a7b3"])
    name: str
    scope: Scope
    created_at: AwareDatetime
    created_by: str = Field(description="Name of the token with which it was made; `user` where there was none.")
    last_used_at: AwareDatetime | None = Field(description="To the minute. Null: never.")
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class TokenCreated(TokenOut):
    token: str = Field(description="The token itself. It is shown now and never again.")


class TokenList(BaseModel):
    items: list[TokenOut]


class SessionCreate(Body):
    """The token to log in with."""

    token: str = Field(min_length=1, max_length=500, description="`copg_...`, or the studio's own admin token.")


class SessionOut(BaseModel):
    """Who is asking, and what they may do."""

    kind: str = Field(description="`open`: no token is in force; `token`; `session`: a browser that has logged in.")
    name: str = Field(examples=["Ada's laptop"])
    scopes: list[str] = Field(description="What may be done.", examples=[["read", "launch"]])
    expires_at: AwareDatetime | None = Field(description="Of the browser's session; it is put off by use.")


def _out(row: AccessToken) -> dict[str, Any]:
    return {
        "id": row.uid, "name": row.name, "scope": row.scope, "created_by": row.created_by,
        "created_at": moment(row.created_at), "last_used_at": moment(row.used_at),
        "expires_at": moment(row.expires_at), "revoked_at": moment(row.revoked_at),
    }  # fmt: skip


def _doorkeeper(request: Request) -> Doorkeeper:
    found: Doorkeeper = request.app.state.doorkeeper
    return found


@router.post("/tokens", status_code=201, response_model=TokenCreated)
def create_token(body: TokenCreate, context: Context, request: Request, key: IdempotencyKey = None) -> TokenCreated:
    """Make a token. From the first one on, everybody needs one. Sent again with its Idempotency-Key it makes no second one, and says
    which it made: its text is shown only once."""
    keeper = _doorkeeper(request)
    if body.name == ADMIN_NAME:
        raise Invalid.field("name", f"{ADMIN_NAME!r} is the name of the token in the studio's settings: choose another")
    with context.database.transaction() as session:
        if body.scope is not Scope.ADMIN and not keeper.needs_token and not tokens.in_force(session):
            raise Invalid.field("scope", "the first token must have scope admin, or nobody could make or revoke others")
        texts = []

        def make() -> AccessToken:
            row, text = tokens.create(session, body.name, body.scope, days=body.days, by=who.actor())
            texts.append(text)
            return row

        row, replayed = idempotency.once(
            session, "tokens", key, body, make=make, find=lambda uid: tokens.find(session, uid)
        )
        if replayed:
            raise Conflict(
                f"this Idempotency-Key has made the token {row.uid!r}, whose text is shown only once: if it was lost, revoke that "
                "one and make another with a new key"
            )
        created = TokenCreated(**_out(row), token=texts[0])
    keeper.forget()
    return created


@router.get("/tokens", response_model=TokenList)
def list_tokens(context: Context) -> TokenList:
    """Every token that was ever made, newest first, the revoked ones too."""
    with context.database.snapshot() as session:
        return TokenList(items=[TokenOut(**_out(row)) for row in tokens.listed(session)])


@router.delete("/tokens/{token_id}", response_model=TokenOut)
def revoke_token(token_id: str, context: Context, request: Request) -> TokenOut:
    """End a token, and the sessions that were opened with it, at once."""
    with context.database.transaction() as session:
        row = tokens.revoke(session, token_id)
        if row is None:
            raise NotFound(f"there is no token {token_id!r}")
        revoked = TokenOut(**_out(row))
    _doorkeeper(request).forget()
    return revoked


def _session(principal: who.Principal) -> SessionOut:
    return SessionOut(
        kind=principal.kind, name=principal.name, scopes=principal.scope.held(), expires_at=moment(principal.expires_at)
    )


@router.get("/session", response_model=SessionOut)
def get_session() -> SessionOut:
    """Who is asking and what they may do; 401 where a token is needed first."""
    return _session(who.principal() or who.OPEN)


@router.post("/session", response_model=SessionOut)
def log_in(body: SessionCreate, request: Request, response: Response) -> Any:
    """Log a browser in: the answer sets a cookie that stands for the token from now on."""
    keeper = _doorkeeper(request)
    origins = Origins(keeper.settings)
    headers = dict(request.headers)
    peer = request.client.host if request.client else None
    try:
        login = keeper.admit(body.token.strip(), origins.client(peer, headers))
    except Refused as no:
        return refusal(request.url.path, no.status, no.detail, no.headers)
    secret = keeper.open_session(login)
    secure = origins.secure(request.url.scheme, peer, headers)
    response.headers["Set-Cookie"] = cookie(cookie_name(headers.get("host", "")), secret, secure=secure)
    found = keeper.by_cookie(secret)
    return _session(found[0] if found else login.principal)


@router.delete("/session", status_code=204)
def log_out(request: Request, response: Response) -> None:
    """Log a browser out."""
    keeper = _doorkeeper(request)
    headers = dict(request.headers)
    if secret := session_cookie(headers):
        keeper.close_session(secret)
    origins = Origins(keeper.settings)
    secure = origins.secure(request.url.scheme, request.client.host if request.client else None, headers)
    response.headers["Set-Cookie"] = cookie(cookie_name(headers.get("host", "")), "", secure=secure)
