"""The ASGI application: FastAPI, the inference routes as plain ASGI endpoints, every error in OpenAI's shape."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from api import errors
from api.inference import Desk, Inference
from api.management.office import PRESENT
from api.openapi import describe
from api.reply import request_id
from schemas.envelope import Endpoint
from schemas.failures import Failure, Kind, Refused

_PREFIXES = ("/v1/{}", "/{}")
_WITH_MODEL = ("/engines/{{model:path}}/{}", "/openai/deployments/{{model:path}}/{}")
"""Where LiteLLM answers each inference path; in the second group the path names the model."""

_KINDS = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD,
    413: Kind.TOO_LARGE,
}


def build(desk: Desk, routers: Sequence[APIRouter], version: str, present: Callable[[], Any] = lambda: None) -> Any:
    """The application of an API process; `present` gives what its management routes work by (`office.present`)."""
    app = bare(routers, version)
    inference = {endpoint: Inference(endpoint, desk) for endpoint in Endpoint}
    for endpoint, handler in inference.items():
        for path in (*_PREFIXES, *_WITH_MODEL):
            app.router.routes.append(Route(path.format(endpoint.value), handler, methods=["POST"]))
    describe(app)
    short = {path.format(endpoint.value): handler for endpoint, handler in inference.items() for path in _PREFIXES}
    door = _Door(app, short, present, desk.settings.max_request_bytes)
    if not desk.settings.cors_origins:
        return door
    cors = CORSMiddleware(
        door,
        allow_origins=list(desk.settings.cors_origins),
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["*"],
    )

    async def outside(scope: Any, receive: Any, send: Any) -> None:
        await cors(scope, receive, _marked(send))  # preflights are answered here, and have an id too

    return outside


def bare(routers: Sequence[APIRouter], version: str, **state: Any) -> FastAPI:
    """An application with these routes alone, and our errors; `state` is what is present, for ever."""
    app = FastAPI(title="Penstock", version=version, docs_url="/docs", redoc_url=None)
    for name, value in state.items():
        setattr(app.state, name, value)
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)
    return app


class _Door:
    """The inference routes past FastAPI's middleware (0.09 ms of 0.46 a request), everything else through it.

    Puts `x-request-id` on every answer of the latter; the inference routes set their own.
    """

    def __init__(self, app: Any, short: Mapping[str, Inference], present: Callable[[], Any], most: int) -> None:
        self._app = app
        self._short = short
        self._present = present
        self._most = most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            handler = self._short.get(scope["path"])
            if handler is not None and scope["method"] == "POST":
                await handler(scope, receive, send)
                return
            receive, send = _bounded(receive, self._most), _marked(send)
            scope[PRESENT] = self._present()
        await self._app(scope, receive, send)


def _bounded(receive: Any, most: int) -> Any:
    """Ends with a 413 after more than so many bytes: FastAPI reads the whole body before anybody looks at the key."""
    seen = 0

    async def bounded() -> Any:
        nonlocal seen
        if seen > most:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        message = await receive()
        seen += len(message.get("body", b""))
        return message

    return bounded


def _marked(send: Any) -> Any:
    async def marked(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            if not any(name == b"x-request-id" for name, _ in headers):
                headers.append((b"x-request-id", request_id().encode()))
        await send(message)

    return marked


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
    said = f"{where}: {first['msg']}" if where else first["msg"]  # the body itself has no name
    return _render(Failure(Kind.INVALID_REQUEST, said, where or None))


async def _bug(_request: Request, _error: Exception) -> Response:
    return _render(Failure(Kind.INTERNAL, "The request could not be processed."))
