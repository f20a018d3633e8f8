"""The application: all routes of the sandbox on one FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .account import AccountRoutes
from .cdn import Cdn
from .chat import ChatCompletions
from .control import control_routes
from .dialect import AimlapiDialect, Dialect
from .edits import Edits, ImageEdits
from .error_bodies import GENERIC_SERVER_ERROR, Failure
from .image_cache import CDN_PREFIX
from .images import ImageGenerations
from .model_routes import ModelRoutes
from .options import SandboxOptions
from .protocols import BASE_PATHS
from .protocols.gemini import GeminiDialect, GeminiModels, GenerateContent
from .protocols.openai import OpenAIDialect, OpenAIImages, OpenAIModels
from .protocols.queue import Queue, QueueDialect
from .state import SandboxState, sandbox_version

_DIALECTS: dict[str, Dialect] = {
    BASE_PATHS["openai"]: OpenAIDialect(),
    BASE_PATHS["gemini"]: GeminiDialect(),
    BASE_PATHS["queue"]: QueueDialect(),
}
_DEFAULT = AimlapiDialect()


def create_app(options: SandboxOptions, origin: str) -> FastAPI:
    """Create the application of one sandbox.

    The API's own routes are plain Starlette routes: they validate requests themselves, and FastAPI would take more
    time than all of their work.

    Image URLs begin with `origin`: scheme, host and port under which the server is reached.
    """
    state = SandboxState(options, origin)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        state.images.close()

    app = FastAPI(
        title="prefect-imagen sandbox",
        version=sandbox_version(),
        lifespan=lifespan,
        openapi_url="/sandbox/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    images, chat, models, cdn = ImageGenerations(state), ChatCompletions(state), ModelRoutes(state), Cdn(state)
    edits, account = ImageEdits(state, images), AccountRoutes(state)
    # The provider's examples call these endpoints with and without /v1, and with and without a final slash.
    for prefix in ("/v1", ""):
        for slash in ("", "/"):
            app.add_route(f"{prefix}/images/generations{slash}", images.handle, ["POST"])
            app.add_route(f"{prefix}/images/edits{slash}", edits.handle, ["POST"])
            app.add_route(f"{prefix}/chat/completions{slash}", chat.handle, ["POST"])
            app.add_route(f"{prefix}/models{slash}", models.models, ["GET"])
    app.add_route("/api/v1/models", models.models, ["GET"])
    app.add_route("/v1/models/deprecations", models.deprecations, ["GET"])
    app.add_route("/docs-json", models.document, ["GET"])
    for path in account.contents:
        app.add_route(path, account.handle, ["GET"])
    app.add_route(CDN_PREFIX + "{name:path}", cdn.handle, ["GET"])
    _add_openai(app, state)
    _add_gemini(app, state)
    _add_queue(app, state)
    app.include_router(control_routes(state))

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        known = status in (404, 405)
        message = f"Cannot {request.method} {request.url.path}" if known else GENERIC_SERVER_ERROR
        failure = Failure(status, message, reason="request" if known else "server")
        return _dialect_of(request).refuse(failure, request, state.new_id())

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, http_error)
    return app


def _add_openai(app: FastAPI, state: SandboxState) -> None:
    images = OpenAIImages(state)
    app.add_route(f"{BASE_PATHS['openai']}/images/generations", images.handle, ["POST"])
    app.add_route(f"{BASE_PATHS['openai']}/images/edits", Edits(state, images).handle, ["POST"])
    app.add_route(f"{BASE_PATHS['openai']}/models", OpenAIModels(state, images.stock).models, ["GET"])


def _add_gemini(app: FastAPI, state: SandboxState) -> None:
    content = GenerateContent(state)
    models = GeminiModels(state, content.stock)
    app.add_route(f"{BASE_PATHS['gemini']}/models/{{model}}:generateContent", content.handle, ["POST"])
    app.add_route(f"{BASE_PATHS['gemini']}/models/{{model}}", models.models, ["GET"])
    app.add_route(f"{BASE_PATHS['gemini']}/models", models.models, ["GET"])


def _add_queue(app: FastAPI, state: SandboxState) -> None:
    queue = Queue(state)
    job = f"{BASE_PATHS['queue']}/{{model:path}}/requests/{{id}}"
    app.add_route(f"{job}/status", queue.status, ["GET"])
    app.add_route(f"{job}/cancel", queue.cancel, ["PUT"])
    app.add_route(job, queue.result, ["GET"])
    app.add_route(f"{BASE_PATHS['queue']}/{{model:path}}", queue.handle, ["POST"])


def _dialect_of(request: Request) -> Dialect:
    """The dialect of a path."""
    return next((dialect for prefix, dialect in _DIALECTS.items() if request.url.path.startswith(prefix)), _DEFAULT)
