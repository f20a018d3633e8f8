"""The account book: every item, every paid call, every image. It knows databases and no HTTP."""

from ..request import UnknownPolicy
from .account import Account, Line
from .budget import BudgetState, BudgetWarning, Period
from .calls import Answered, Begun, CallIntent, NewImage, Outcome, Refused, Rewritten, Unbilled, Unknown
from .claims import ClaimedItem, WantedText
from .erasure import Survey
from .errors import LedgerMismatch, LedgerMissing, LedgerNotUsable, LedgerUnavailable
from .held import HeldItem, name_holders
from .images import ImageResult, ImageTask, StoredAt
from .items import Item, ItemKind, Rewrite
from .ledger import Ledger
from .quotas import SharedQuota
from .runs import RunItem, RunProgress, RunSpec
from .selection import Selection
from .shared import close_ledgers, open_ledger
from .states import CallOutcome, ImageState, ItemState

__all__ = [
    "Account",
    "Answered",
    "Begun",
    "BudgetState",
    "BudgetWarning",
    "CallIntent",
    "CallOutcome",
    "ClaimedItem",
    "HeldItem",
    "ImageResult",
    "ImageState",
    "ImageTask",
    "Item",
    "ItemKind",
    "ItemState",
    "Ledger",
    "LedgerMismatch",
    "LedgerMissing",
    "LedgerNotUsable",
    "LedgerUnavailable",
    "Line",
    "NewImage",
    "Outcome",
    "Period",
    "Refused",
    "Rewrite",
    "Rewritten",
    "RunItem",
    "RunProgress",
    "RunSpec",
    "Selection",
    "SharedQuota",
    "StoredAt",
    "Survey",
    "Unbilled",
    "Unknown",
    "UnknownPolicy",
    "WantedText",
    "close_ledgers",
    "name_holders",
    "open_ledger",
]
