"""The ledger: every item, every paid call, every image. It knows databases and no HTTP."""

from .archives import Archive, ArchivePreview
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
    Recoverable,
    Refused,
    Rewritten,
    Unbilled,
    Unknown,
)
from .checks import Checked, Grouped, Known
from .costs import AccountLine, CostLine, CostSummary
from .deliveries import ImageStatus, StoredImage
from .engine import has_password, normalise_url
from .erasure import ErasableObject, ErasurePreview
from .errors import LedgerBehind, LedgerMismatch, LedgerMissing, LedgerNotUsable, LedgerUnavailable
from .handovers import Handover
from .identity import Item, ItemKind, Rewrite, new_call_id
from .images import ImageResult, ImageTask, StoredAt
from .item_rows import ItemPage
from .items import ClaimedItem, LeasedItem, Transition, describe_workers
from .ledger import Ledger, close_ledgers, open_ledger
from .quotas import SharedQuota
from .rebuilding import RebuiltCall, RebuiltImage
from .review import PAGE_SIZE, ReviewCounts, ReviewOverview
from .revisions import NewRevision, Revision, RevisionRequest
from .rewrites import FailedRewrite, RewriteReport, RewriteStatus
from .runs import OpenItem, RowProgress, RunItem, RunProgress, RunSpec
from .selection import ImageFilter, ImageOrder, Selection
from .states import ArchiveState, CallOutcome, ImageState, ItemState, RegenerationKind, RunOutcome, VerdictValue
from .verdicts import MOST_STARS, Recorded, Review, Verdict, image_key
from .workers import LEASE_SECONDS, this_host

__all__ = [
    "LEASE_SECONDS",
    "MOST_STARS",
    "PAGE_SIZE",
    "AccountLine",
    "Answered",
    "Archive",
    "ArchivePreview",
    "ArchiveState",
    "BeginResult",
    "BudgetState",
    "BudgetWarning",
    "CallIntent",
    "CallOutcome",
    "Checked",
    "ClaimedItem",
    "CostLine",
    "CostSummary",
    "ErasableObject",
    "ErasurePreview",
    "FailedRewrite",
    "Fruitless",
    "Grouped",
    "Handover",
    "ImageFilter",
    "ImageOrder",
    "ImageResult",
    "ImageState",
    "ImageStatus",
    "ImageTask",
    "Item",
    "ItemKind",
    "ItemPage",
    "ItemState",
    "Known",
    "LeasedItem",
    "Ledger",
    "LedgerBehind",
    "LedgerMismatch",
    "LedgerMissing",
    "LedgerNotUsable",
    "LedgerUnavailable",
    "NewImage",
    "NewRevision",
    "OpenItem",
    "Outcome",
    "Period",
    "RebuiltCall",
    "RebuiltImage",
    "Recorded",
    "RecordedCall",
    "Recoverable",
    "Refused",
    "RegenerationKind",
    "Review",
    "ReviewCounts",
    "ReviewOverview",
    "Revision",
    "RevisionRequest",
    "Rewrite",
    "RewriteReport",
    "RewriteStatus",
    "Rewritten",
    "RowProgress",
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
    "Verdict",
    "VerdictValue",
    "back_up",
    "close_ledgers",
    "describe_workers",
    "has_password",
    "image_key",
    "new_call_id",
    "normalise_url",
    "open_ledger",
    "this_host",
]
