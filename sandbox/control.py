"""`/sandbox/…`: what only the sandbox has, for tests and for people who try things."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from .faults import FaultSheet
from .house import House, sandbox_version

__all__ = ["control_routes"]


def control_routes(house: House) -> APIRouter:
    """The routes below `/sandbox` of one sandbox."""
    router = APIRouter(prefix="/sandbox", default_response_class=JSONResponse)

    @router.get("")
    async def about() -> dict[str, str]:
        """What this server is."""
        return {"sandbox": "prefect-imagen", "version": sandbox_version()}

    @router.get("/bill")
    async def bill() -> JSONResponse:
        """One entry a billed call, and the sum in credits."""
        return JSONResponse(house.books.bill())

    @router.delete("/bill")
    async def reset() -> dict[str, bool]:
        """Forget all calls and the bill, and restore the balance."""
        house.books.reset()
        house.door.reset()
        return {"reset": True}

    @router.get("/calls")
    async def calls(since: Annotated[int, Query(ge=0)] = 0) -> JSONResponse:
        """Every call received after number `since`, billed or not."""
        return JSONResponse(house.books.calls(since))

    @router.get("/leaks")
    async def leaks() -> dict[str, Any]:
        """Every image request that carried a key."""
        return {"leaks": house.books.leaks()}

    @router.get("/stats")
    async def stats() -> dict[str, int]:
        """Counters of calls, downloads and bytes."""
        return house.books.stats()

    @router.put("/faults")
    async def set_faults(sheet: FaultSheet) -> dict[str, Any]:
        """Replace all faults; an unknown name or option is a 422."""
        house.faults.put(sheet)
        return house.faults.report()

    @router.get("/faults")
    async def faults() -> dict[str, Any]:
        """The faults, and how often each has met a call and struck it."""
        return house.faults.report()

    @router.delete("/faults")
    async def clear_faults() -> dict[str, Any]:
        """Remove all faults."""
        house.faults.put(FaultSheet())
        return house.faults.report()

    return router
