"""The routes below `/sandbox`, which only the sandbox has: bill, calls, counters, faults, models."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, PlainTextResponse

from ..core.errors import BadInput
from .faults import FaultPlan
from .model_stock import ModelOverride
from .state import SandboxState, sandbox_version


def control_routes(state: SandboxState) -> APIRouter:
    """The routes below `/sandbox` of one sandbox."""
    router = APIRouter(prefix="/sandbox", default_response_class=JSONResponse)

    @router.get("")
    async def about() -> dict[str, str]:
        """Name and version of the sandbox."""
        return {"sandbox": "prefect-imagen", "version": sandbox_version()}

    @router.get("/root.pem")
    async def root() -> PlainTextResponse:
        """The certificate to trust, where the images are signed."""
        signer = state.images.signer
        if signer is None:
            return PlainTextResponse("the images are not signed: start the sandbox with --signed\n", 404)
        return PlainTextResponse(signer.identity.root)

    @router.get("/bill")
    async def bill() -> JSONResponse:
        """One entry per billed call, and the sum in credits."""
        return JSONResponse(state.call_log.bill())

    @router.delete("/bill")
    async def reset() -> dict[str, bool]:
        """Delete all calls and the bill, and restore the balance."""
        state.call_log.reset()
        state.rate_limit.reset()
        state.replays.reset()
        return {"reset": True}

    @router.get("/calls")
    async def calls(since: Annotated[int, Query(ge=0)] = 0) -> JSONResponse:
        """Every call received after number `since`, billed or not."""
        return JSONResponse(state.call_log.calls(since))

    @router.get("/leaks")
    async def leaks() -> dict[str, Any]:
        """Every image request that sent a key."""
        return {"leaks": state.call_log.leaks}

    @router.get("/stats")
    async def stats() -> dict[str, int]:
        """Counters of calls, downloads and bytes."""
        return state.call_log.stats()

    @router.put("/faults")
    async def set_faults(plan: FaultPlan) -> dict[str, Any]:
        """Replace all faults; an unknown name or option is a 422."""
        state.faults.put(plan)
        return state.faults.report()

    @router.get("/faults")
    async def faults() -> dict[str, Any]:
        """The faults, and how often each has met a call and struck it."""
        return state.faults.report()

    @router.delete("/faults")
    async def clear_faults() -> dict[str, Any]:
        """Remove all faults."""
        state.faults.put(FaultPlan())
        return state.faults.report()

    @router.put("/models")
    async def set_models(overrides: dict[str, ModelOverride]) -> JSONResponse:
        """Replace all overrides of price and status, by model id; any other model is as in the registry."""
        try:
            state.stock.put(overrides)
        except BadInput as error:
            return JSONResponse({"detail": str(error)}, 422)
        return await models()

    @router.get("/models")
    async def models() -> JSONResponse:
        """All overrides of price and status."""
        overrides = state.stock.overrides.items()
        return JSONResponse({name: override.model_dump(mode="json", exclude_none=True) for name, override in overrides})

    return router
