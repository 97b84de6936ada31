"""The OpenAPI document: FastAPI's own routes, and the inference routes that are not FastAPI's."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from schemas.envelope import Endpoint

_INPUT: dict[Endpoint, tuple[str, dict[str, Any]]] = {
    Endpoint.CHAT: ("messages", {"type": "array", "minItems": 1, "items": {"type": "object"}}),
    Endpoint.COMPLETIONS: ("prompt", {}),
    Endpoint.EMBEDDINGS: ("input", {}),
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def describe(app: FastAPI) -> None:
    """Have `/openapi.json` tell of the inference routes too."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=app.title, version=app.version, routes=app.routes)
            for endpoint in Endpoint:
                found["paths"][f"/v1/{endpoint.value}"] = {"post": _operation(endpoint)}
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    name, schema = _INPUT[endpoint]
    body = {
        "type": "object",
        "required": ["model", name],
        "properties": {"model": {"type": "string"}, name: schema},
        "additionalProperties": True,
    }
    return {
        "tags": ["inference"],
        "summary": f"OpenAI's {endpoint.value}",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "As OpenAI's", "content": {"application/json": {}, "text/event-stream": {}}},
            "default": {"description": "An error", "content": {"application/json": {"schema": _ERROR}}},
        },
    }
