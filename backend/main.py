"""The application: REST API, live feed, built page. `uvicorn --factory backend.main:create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.staticfiles import StaticFiles

from backend import errors, queue
from backend.database import Database
from backend.feed import Feed
from backend.page_files import Page
from backend.reconcile import Reconciler
from backend.routes import bandit, catalogue, estimates, figures, live, pipelines, recorded, runs, system
from backend.routes.context import Studio
from backend.schemas import Problem
from backend.settings import Settings

API = "/api/v1"
PROBLEM = "application/problem+json"
TITLE = "CoPG Studio"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The web application over a migrated database. Nothing is opened before it starts."""
    settings = settings or Settings.from_environment()
    database = Database(settings.effective_database_url)
    celery = queue.celery_app(settings)

    def send(uid: str, name: str) -> None:
        if settings.broker_url:
            queue.send_hint(celery, uid, name)

    reconciler = Reconciler(database, settings, send)
    studio = Studio(settings, database, Feed(database, settings.feed_seconds), reconciler.wake)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        studio.feed.start()
        reconciler.start()
        try:
            yield
        finally:
            reconciler.stop()
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
        generate_unique_id_function=_operation_id,
        separate_input_output_schemas=False,
    )
    app.state.studio = studio
    errors.install(app)
    api = APIRouter(prefix=API, responses={"default": {"model": Problem, "description": "Problem details (RFC 9457)"}})
    for room in (estimates, runs, recorded, figures, pipelines, bandit, catalogue, system, live):
        api.include_router(room.router)
    app.include_router(api)
    _serve_docs(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    app.router.default = Page(Path(__file__).parent / "page")
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with errors under the media type that they are sent with."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            separate_input_output_schemas=False,
        )  # fmt: skip
        for operations in document["paths"].values():
            for operation in operations.values():
                content = operation["responses"]["default"]["content"]
                operation["responses"]["default"]["content"] = {PROBLEM: content.popitem()[1]}
        app.openapi_schema = document
    return app.openapi_schema


def _serve_docs(app: FastAPI) -> None:
    """/docs from files of our own installation: FastAPI's default page needs a CDN and stays blank offline."""
    found = find_spec("fastapi_offline")
    assert found is not None, "fastapi-offline is a dependency of the web extra"
    assert found.origin is not None
    app.mount("/docs-assets", StaticFiles(directory=Path(found.origin).parent / "static"))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{TITLE}: API",
            swagger_js_url="/docs-assets/swagger-ui-bundle.js",
            swagger_css_url="/docs-assets/swagger-ui.css",
            swagger_favicon_url="/docs-assets/favicon.png",
        )
