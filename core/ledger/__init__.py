"""The account book: every item, every paid call, every image. It knows databases and no HTTP."""

from .account import Account, Line
from .calls import Answered, Begun, CallIntent, NewImage, Outcome, Refused, Unbilled, Unknown
from .claims import ClaimedItem
from .database import home
from .errors import LedgerMismatch, LedgerNotUsable, LedgerUnavailable
from .images import ImageResult, ImageTask, StoredAt
from .items import Item
from .ledger import Ledger
from .runs import RunItem, RunProgress, RunSpec
from .shared import close_ledgers, open_ledger
from .states import CallOutcome, ImageState, ItemState, UnknownPolicy

__all__ = [
    "Account",
    "Answered",
    "Begun",
    "CallIntent",
    "CallOutcome",
    "ClaimedItem",
    "ImageResult",
    "ImageState",
    "ImageTask",
    "Item",
    "ItemState",
    "Ledger",
    "LedgerMismatch",
    "LedgerNotUsable",
    "LedgerUnavailable",
    "Line",
    "NewImage",
    "Outcome",
    "Refused",
    "RunItem",
    "RunProgress",
    "RunSpec",
    "StoredAt",
    "Unbilled",
    "Unknown",
    "UnknownPolicy",
    "close_ledgers",
    "home",
    "open_ledger",
]
