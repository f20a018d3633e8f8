"""`/sandbox/…`: what only the sandbox has, for tests and for people who try things."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from ..core.errors import BadInput
from .faults import FaultSheet
from .house import House, sandbox_version
from .shelf import ShelfLabel

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

    @router.put("/models")
    async def set_models(labels: dict[str, ShelfLabel]) -> JSONResponse:
        """Change what models cost and where they stand, by id; what is not named is as the registry has it."""
        try:
            house.shelf.put(labels)
        except BadInput as error:
            return JSONResponse({"detail": str(error)}, 422)
        return await models()

    @router.get("/models")
    async def models() -> JSONResponse:
        """What is changed about models."""
        labels = house.shelf.labels().items()
        return JSONResponse({name: label.model_dump(mode="json", exclude_none=True) for name, label in labels})

    return router
