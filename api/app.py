"""The ASGI application: FastAPI, the inference routes as plain ASGI endpoints, every error in OpenAI's shape."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api import errors
from api.inference import Desk, Inference, request_id
from api.openapi import describe
from schemas.envelope import Endpoint
from schemas.failures import Failure, Kind, Refused

_PREFIXES = ("/v1/{}", "/{}", "/engines/{{model:path}}/{}", "/openai/deployments/{{model:path}}/{}")
"""Where LiteLLM answers each inference path."""

_KINDS = {404: Kind.NOT_FOUND, 405: Kind.METHOD, 401: Kind.UNAUTHENTICATED, 403: Kind.FORBIDDEN}


def build(desk: Desk, routers: Sequence[APIRouter], version: str) -> Any:
    """The application that uvicorn serves."""
    app = FastAPI(title="Penstock", version=version, docs_url="/docs", redoc_url=None)
    for endpoint in Endpoint:
        handler = Inference(endpoint, desk)
        for prefix in _PREFIXES:
            app.router.routes.append(Route(prefix.format(endpoint.value), handler, methods=["POST"]))
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)
    describe(app)
    if desk.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(desk.settings.cors_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    return _WithRequestId(app)


class _WithRequestId:
    """`x-request-id` on every answer; the inference routes set their own."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if not any(name == b"x-request-id" for name, _ in headers):
                    headers.append((b"x-request-id", request_id().encode()))
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)


def _render(failure: Failure, status: int | None = None) -> Response:
    response = Response(errors.render(failure), status or errors.status_of(failure), media_type="application/json")
    for name, value in errors.headers(failure):
        response.headers[name.decode()] = value.decode()
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _render(error.failure)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    kind = _KINDS.get(error.status_code, Kind.INVALID_REQUEST)
    failure = Failure(kind, f"{phrase}: {request.method} {request.url.path[:200]}")
    response = _render(failure, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    return _render(Failure(Kind.INVALID_REQUEST, f"{where}: {first['msg']}", where or None))


async def _bug(_request: Request, _error: Exception) -> Response:
    return _render(Failure(Kind.INTERNAL, "The request could not be processed."))
