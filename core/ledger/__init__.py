"""The ledger: every item, every paid call, every image. It knows databases and no HTTP."""

from ..request import UnknownPolicy
from .budgets import BudgetState, BudgetWarning, Period
from .calls import Answered, BeginResult, CallIntent, NewImage, Outcome, Refused, Rewritten, Unbilled, Unknown
from .costs import CostLine, CostSummary
from .erasure import ErasableObject, ErasurePreview
from .errors import LedgerMismatch, LedgerMissing, LedgerNotUsable, LedgerUnavailable
from .identity import Item, ItemKind, Rewrite
from .images import ImageResult, ImageTask, StoredAt
from .items import ClaimedItem, LeasedItem, describe_workers
from .ledger import Ledger, close_ledgers, open_ledger
from .quotas import SharedQuota
from .rewrites import RewriteStatus
from .runs import RunItem, RunProgress, RunSpec
from .selection import Selection
from .states import CallOutcome, ImageState, ItemState
from .workers import LEASE_SECONDS, this_host

__all__ = [
    "LEASE_SECONDS",
    "Answered",
    "BeginResult",
    "BudgetState",
    "BudgetWarning",
    "CallIntent",
    "CallOutcome",
    "ClaimedItem",
    "CostLine",
    "CostSummary",
    "ErasableObject",
    "ErasurePreview",
    "ImageResult",
    "ImageState",
    "ImageTask",
    "Item",
    "ItemKind",
    "ItemState",
    "LeasedItem",
    "Ledger",
    "LedgerMismatch",
    "LedgerMissing",
    "LedgerNotUsable",
    "LedgerUnavailable",
    "NewImage",
    "Outcome",
    "Period",
    "Refused",
    "Rewrite",
    "RewriteStatus",
    "Rewritten",
    "RunItem",
    "RunProgress",
    "RunSpec",
    "Selection",
    "SharedQuota",
    "StoredAt",
    "Unbilled",
    "Unknown",
    "UnknownPolicy",
    "close_ledgers",
    "describe_workers",
    "open_ledger",
    "this_host",
]
