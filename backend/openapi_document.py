"""The OpenAPI document: what FastAPI makes of the routes, with the errors that each of them can answer, and words for tags."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from backend import openapi_examples
from backend.scopes import Scope, needed

PROBLEM = "application/problem+json"
TAGS = {
    "runs": "Launch, list, look at, change, stop, start again and delete runs, one or many at once.",
    "recorded": "What a run has recorded: curves, evaluations, samples, log.",
    "trials": "The playground: a prompt of your own, answered by policies of finished runs.",
    "artifacts": "Files of runs: checkpoints, trained models, exports, and the room that they take.",
    "figures": "Figures as Plotly JSON or CSV, and the points that were added to them since.",
    "compare": "Runs side by side, grouped into seeds: figures, and a table with paired tests.",
    "pipelines": "Several runs as one request, each waiting for its parents.",
    "sweeps": "Many runs that differ in a few fields, made, steered and extended as one.",
    "bandit": "The paper's bandit, simulated while the request waits.",
    "catalogue": "What a run can be made of: algorithms with their forms, and models.",
    "data": "Data sets: register, upload, look at, compare, delete.",
    "queue": "The queue and its machines.",
    "system": "Workers, health and what this studio is.",
    "live": "One stream of server-sent events that says what has changed.",
    "saved views": "Pages with everything that was chosen on them, by a name.",
    "access": "Tokens and browser sessions.",
    "webhooks": "Addresses that are told when runs end.",
}
_ERRORS = {
    "401": ("Unauthenticated", "No valid token or session came with the request."),
    "403": ("Forbidden", "The token's scope, or where the request comes from, does not allow it."),
    "404": ("NotFound", "What the address names does not exist."),
    "409": (
        "Conflict",
        "The present state forbids it, a name is taken, or an Idempotency-Key came with another request.",
    ),
    "410": ("Gone", "What the Idempotency-Key made was deleted since."),
    "412": ("EditedMeanwhile", "Somebody has edited it since the ETag in If-Match was given out; `errors` say what."),
    "413": ("TooLarge", "The body is larger than the limit."),
    "422": ("Invalid", "A value is wrong; `errors` name its field."),
    "503": ("Unavailable", "The database cannot be reached or is busy: try again after `Retry-After` seconds."),
}


def document(app: FastAPI, prefix: str) -> dict[str, Any]:
    """The document of `app`, whose routes stand below `prefix`; made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            separate_input_output_schemas=False,
        )  # fmt: skip
        problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
        made["components"]["responses"] = {
            name: {"description": description, "content": {PROBLEM: problem}} for name, description in _ERRORS.values()
        }
        made["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "`copg tokens create NAME` makes one."},
            "session": {"type": "apiKey", "in": "cookie", "name": "copg_session", "description": "`POST /session`"},
        }
        used: set[str] = set()
        for path, operations in made["paths"].items():
            for method, operation in operations.items():
                _explain(operation, method.upper(), path, prefix)
                used.update(operation.get("tags", ()))
        made["tags"] = [{"name": name, "description": words} for name, words in TAGS.items() if name in used]
        app.openapi_schema = made
    return app.openapi_schema


def _explain(operation: dict[str, Any], method: str, path: str, prefix: str) -> None:
    scope = needed(method, path.removeprefix(prefix))
    operation["x-scope"] = scope.value
    if scope is not Scope.PUBLIC:
        operation["security"] = [{"token": []}, {"session": []}, {}]  # the last: at home, before there is one
    responses = operation["responses"]
    parameters = {item["name"] for item in operation.get("parameters", ())}
    writes = method != "GET"
    can = {
        "401": scope is not Scope.PUBLIC,
        "403": scope is not Scope.PUBLIC,
        "404": "{" in path,
        "409": writes,
        "410": "Idempotency-Key" in parameters and "201" in responses,
        "412": "If-Match" in parameters,
        "413": "requestBody" in operation,
        "422": bool(parameters) or "requestBody" in operation,
        "503": True,
    }
    for status, (name, _) in _ERRORS.items():
        if can[status]:
            responses.setdefault(status, {"$ref": f"#/components/responses/{name}"})
    if "Idempotency-Key" in parameters and "201" in responses:
        responses["200"] = {**responses["201"], "description": "What an earlier request with this key has made."}
    operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
    content = responses["default"]["content"]
    responses["default"] = {
        "description": "Any other error, in the one shape of all (RFC 9457).", "content": {PROBLEM: content.popitem()[1]},
    }  # fmt: skip
    operation["responses"] = dict(sorted(responses.items()))
    openapi_examples.put(operation)
