"""The application: REST API, live feed, built page. `uvicorn --factory backend.main:create_app`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles

from backend import errors, logs, openapi_document, queue, uploads
from backend.analyst import Analyst
from backend.database import Database
from backend.deposits import Depositor
from backend.doorkeeper import Doorkeeper
from backend.feed import Feed
from backend.garbage import Keeper
from backend.gate import Gate
from backend.gpu_history import Pruner
from backend.origins import Origins
from backend.page_files import Page
from backend.reconcile import Reconciler
from backend.repeats import AnsweredBefore
from backend.requests import Requests
from backend.responses import SafeResponses, page_policy
from backend.retention import Leftovers, Sweeper
from backend.routes import (
    access,
    artifacts,
    bandit,
    bulk,
    catalogue,
    compare,
    data_figures,
    datasets,
    estimates,
    figures,
    gpus,
    live,
    pipelines,
    recorded,
    runs,
    samples,
    saved_views,
    storage,
    sweep_figures,
    sweeps,
    system,
    trials,
    webhooks,
)
from backend.routes import queue as queue_routes
from backend.routes.context import Studio
from backend.routes.metrics import router as metrics_router
from backend.schemas.problems import Problem
from backend.settings import Settings
from backend.sweep_deletion import Deletions
from backend.webhook_sender import WebhookSender

API = "/api/v1"
TITLE = "CoPG Studio"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The web application over a migrated database. Nothing is opened before it starts."""
    ours = settings is None  # uvicorn's factory: so is the process
    if settings is None:
        settings = Settings.from_environment()
        logs.configure(settings.log_format)
    database = Database(settings.effective_database_url)
    celery = queue.celery_app(settings)

    def send(uid: str, name: str) -> None:
        if settings.broker_url:
            queue.send_hint(celery, uid, name)

    reconciler = Reconciler(database, settings, send)
    analyst = Analyst(database, settings)
    depositor = Depositor(database, settings)

    def uploaded() -> None:
        analyst.wake()
        depositor.wake()

    studio = Studio(settings, database, Feed(database, settings.feed_seconds), reconciler.wake, uploaded)

    doorkeeper = Doorkeeper(settings, database)
    loops = (
        reconciler, Sweeper(database, settings), Leftovers(database, settings), Pruner(database),
        Deletions(database, settings), analyst, depositor, WebhookSender(database, settings),
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await run_in_threadpool(doorkeeper.check_start)
        except ValueError:
            database.close()
            raise
        studio.feed.start()
        for loop in loops:
            loop.start()
        threading.Thread(target=uploads.clean, args=(database, settings), name="tidy", daemon=True).start()
        try:
            yield
        finally:
            for loop in reversed(loops):
                loop.stop()
            studio.feed.stop()
            database.close()

    app = FastAPI(
        title=TITLE,
        version=system.VERSION,
        description="Queue, train and compare preference and reward fine-tuning runs.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=list(_routes()),
        separate_input_output_schemas=False,
    )
    app.state.studio = studio
    app.state.doorkeeper = doorkeeper
    app.add_middleware(AnsweredBefore, repeats=studio.repeats)
    app.add_middleware(Gate, application=app, doorkeeper=doorkeeper, origins=Origins(settings))
    app.add_middleware(SafeResponses)  # outside of the gate, whose refusals carry its headers too
    app.add_middleware(Requests)
    errors.install(app)
    app.openapi = lambda: openapi_document.document(app, API)  # type: ignore[method-assign]
    app.router.default = Page(Path(__file__).parent / "page")
    if ours:
        Keeper().install()
    return app


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Every route, put together once in a process: nearly all the time that it takes to make an application goes there."""
    whole = APIRouter(redirect_slashes=False, generate_unique_id_function=_operation_id)
    api = APIRouter(prefix=API, responses={"default": {"model": Problem, "description": "Problem details (RFC 9457)"}})
    rooms = (
        sweep_figures, figures,  # what hundreds of viewers ask for is found first, behind the one address that it would hide
        estimates, bulk, compare, runs, recorded, samples, trials, artifacts, pipelines, sweeps, bandit, catalogue, datasets,
        data_figures, system, gpus, queue_routes, storage, saved_views, webhooks, live, access,
    )  # fmt: skip
    for room in rooms:
        api.include_router(room.router)
    whole.include_router(api)
    whole.include_router(metrics_router)
    _serve_docs(whole)
    return tuple(whole.routes)


def _operation_id(route: APIRoute) -> str:
    return route.name


def _serve_docs(router: APIRouter) -> None:
    """/docs from files of our own installation: FastAPI's default page needs a CDN and stays blank offline."""
    found = find_spec("fastapi_offline")
    assert found is not None, "fastapi-offline is a dependency of the web extra"
    assert found.origin is not None
    router.mount("/docs-assets", StaticFiles(directory=Path(found.origin).parent / "static"))

    @router.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        shown = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{TITLE}: API",
            swagger_js_url="/docs-assets/swagger-ui-bundle.js",
            swagger_css_url="/docs-assets/swagger-ui.css",
            swagger_favicon_url="/docs-assets/favicon.png",
        )
        shown.headers["Content-Security-Policy"] = page_policy(bytes(shown.body).decode())
        return shown
