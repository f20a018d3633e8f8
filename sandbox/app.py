"""The application: all routes of the sandbox on one FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .account import AccountDesk
from .catalog import Catalog
from .cdn import Cdn
from .chat import ChatCompletions
from .control import control_routes
from .envelopes import GENERIC_SERVER_ERROR, Failure
from .gallery import CDN_PREFIX
from .house import House, sandbox_version
from .images import ImageGenerations
from .options import SandboxOptions
from .wire import failure_response

__all__ = ["create_app"]


def create_app(options: SandboxOptions, origin: str) -> FastAPI:
    """Put a sandbox together.

    The API's own routes are plain Starlette routes: they validate by themselves, and FastAPI's machinery would cost
    more than all of their work.

    Args:
        options: The settings.
        origin: Scheme, host and port under which the server is reached; image URLs begin with it.
    """
    house = House(options, origin)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        house.gallery.close()

    app = FastAPI(
        title="prefect-imagen sandbox",
        version=sandbox_version(),
        lifespan=lifespan,
        openapi_url="/sandbox/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    images, chat, catalog, cdn = ImageGenerations(house), ChatCompletions(house), Catalog(house), Cdn(house)
    account = AccountDesk(house)
    # The provider's examples call the endpoint with and without /v1 and with and without the last slash.
    for prefix in ("/v1", ""):
        for slash in ("", "/"):
            app.add_route(f"{prefix}/images/generations{slash}", images.handle, ["POST"])
            app.add_route(f"{prefix}/chat/completions{slash}", chat.handle, ["POST"])
            app.add_route(f"{prefix}/models{slash}", catalog.models, ["GET"])
    app.add_route("/api/v1/models", catalog.models, ["GET"])
    app.add_route("/v1/models/deprecations", catalog.deprecations, ["GET"])
    app.add_route("/docs-json", catalog.document, ["GET"])
    app.add_route("/v2/billing", account.balance, ["GET"])
    app.add_route("/v2/billing/transactions", account.transactions, ["GET"])
    app.add_route("/v1/billing/balance", account.legacy_balance, ["GET"])
    app.add_route("/v2/logs", account.logs, ["GET"])
    app.add_route(CDN_PREFIX + "{name:path}", cdn.handle, ["GET"])
    app.include_router(control_routes(house))

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        message = f"Cannot {request.method} {request.url.path}" if status in (404, 405) else GENERIC_SERVER_ERROR
        return failure_response(Failure(status, message), request, house.new_id())

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, http_error)
    return app
