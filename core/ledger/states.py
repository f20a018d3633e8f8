"""The states of calls, images and items, and what each means for the money.

A *call* is one request to the paid endpoint, an *image* one image of its reply, an *item* one purchase that a user
wants.

    call    sent ──▶ answered     the reply is recorded                                billed
              ├────▶ refused      the provider said no; `billed` says which            as recorded
              ├────▶ unbilled     surely not billed: may be tried again                no
              └────▶ unknown      no readable answer came                              perhaps
                        ├────▶ answered (a late reply; or the provider's log: billed, with nothing to fetch)
                        └────▶ unbilled (the provider's log)

    image   pending ──▶ stored | quarantined | lost; any of them ──▶ erased

    item    planned ─▶ claimed ─▶ sent ─▶ generated ─▶ delivered | lost
                                    ├───▶ refused
                                    ├───▶ failed     unbilled, retries spent
                                    └───▶ unknown

            any that no worker holds ─▶ erased     on request: prompt, images and links are removed, costs are kept
"""

from __future__ import annotations

import enum

from ..request import UnknownPolicy


class CallOutcome(enum.StrEnum):
    """What became of one call to the paid endpoint."""

    SENT = "sent"
    ANSWERED = "answered"
    REFUSED = "refused"
    UNBILLED = "unbilled"
    UNKNOWN = "unknown"


class ImageState(enum.StrEnum):
    """What became of one image of a reply."""

    PENDING = "pending"
    STORED = "stored"
    QUARANTINED = "quarantined"
    LOST = "lost"
    ERASED = "erased"


class ItemState(enum.StrEnum):
    """Where an item stands."""

    PLANNED = "planned"
    CLAIMED = "claimed"
    SENT = "sent"
    GENERATED = "generated"
    DELIVERED = "delivered"
    LOST = "lost"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"
    ERASED = "erased"


UNSETTLED = (CallOutcome.SENT, CallOutcome.UNKNOWN)
"""What these calls cost is not known: at most what was reserved for them."""

FINISHED = (ItemState.DELIVERED, ItemState.ERASED)
"""Nothing is left to do for these items, and no run asks for them again."""

CLOSED = (*FINISHED, ItemState.REFUSED, ItemState.LOST)
"""Nothing is left to do for these items unless somebody asks for them again."""


class RunOutcome(enum.StrEnum):
    """How a run ended."""

    COMPLETED = "Completed"
    INCOMPLETE = "Incomplete"
    BUDGET_REACHED = "BudgetReached"
    BLOCKED = "Blocked"
    STOPPED = "Stopped"
    REBUILT = "Rebuilt"


class VerdictValue(enum.StrEnum):
    """What a reviewer says about an image."""

    APPROVED = "approved"
    REJECTED = "rejected"
    NONE = "none"


class RegenerationKind(enum.StrEnum):
    """How an image is to be made anew."""

    SEED = "seed"
    PROMPT = "prompt"
    PARAMETERS = "parameters"


class ArchiveState(enum.StrEnum):
    """How far the rows of an archive have moved."""

    WRITING = "writing"  # its files are being written; the ledger has all rows
    WRITTEN = "written"  # its files are stored and verified; rows are being moved out
    MOVED = "moved"
    RESTORING = "restoring"  # rows are being put back
    RESTORED = "restored"


def buyable_states(unknown: UnknownPolicy, *, retry_refused: bool) -> tuple[ItemState, ...]:
    """States of items that a run buys; `retry_refused` says whether refused items are asked for again."""
    more = (ItemState.UNKNOWN,) if unknown is UnknownPolicy.RETRY else ()
    refused = (ItemState.REFUSED,) if retry_refused else ()
    return (ItemState.PLANNED, ItemState.FAILED, *more, *refused)
