"""The ledger: every item, every paid call, every image. It knows databases and no HTTP."""

from .backup import back_up
from .budgets import BudgetState, BudgetWarning, Period
from .calls import (
    Answered,
    BeginResult,
    CallIntent,
    Fruitless,
    NewImage,
    Outcome,
    RecordedCall,
    Refused,
    Rewritten,
    Unbilled,
    Unknown,
)
from .catalog import Selection
from .costs import CostLine, CostSummary
from .deliveries import ImageStatus, StoredImage
from .engine import has_password, normalise_url
from .erasure import ErasableObject, ErasurePreview
from .errors import LedgerBehind, LedgerMismatch, LedgerMissing, LedgerNotUsable, LedgerUnavailable
from .identity import Item, ItemKind, Rewrite
from .images import ImageResult, ImageTask, StoredAt
from .items import ClaimedItem, LeasedItem, Transition, describe_workers
from .ledger import Ledger, close_ledgers, open_ledger
from .quotas import SharedQuota
from .rebuilding import RebuiltCall, RebuiltImage
from .rewrites import FailedRewrite, RewriteReport, RewriteStatus
from .runs import OpenItem, RunItem, RunProgress, RunSpec
from .states import CallOutcome, ImageState, ItemState, RunOutcome
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
    "FailedRewrite",
    "Fruitless",
    "ImageResult",
    "ImageState",
    "ImageStatus",
    "ImageTask",
    "Item",
    "ItemKind",
    "ItemState",
    "LeasedItem",
    "Ledger",
    "LedgerBehind",
    "LedgerMismatch",
    "LedgerMissing",
    "LedgerNotUsable",
    "LedgerUnavailable",
    "NewImage",
    "OpenItem",
    "Outcome",
    "Period",
    "RebuiltCall",
    "RebuiltImage",
    "RecordedCall",
    "Refused",
    "Rewrite",
    "RewriteReport",
    "RewriteStatus",
    "Rewritten",
    "RunItem",
    "RunOutcome",
    "RunProgress",
    "RunSpec",
    "Selection",
    "SharedQuota",
    "StoredAt",
    "StoredImage",
    "Transition",
    "Unbilled",
    "Unknown",
    "back_up",
    "close_ledgers",
    "describe_workers",
    "has_password",
    "normalise_url",
    "open_ledger",
    "this_host",
]
