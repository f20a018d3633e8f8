"""Spending money: the only code that calls the paid endpoint."""

from .purchaser import Purchaser, PurchaseSettings
from .replay import replay
from .replies import ReplySpool
from .rewriter import Rewriter

__all__ = ["PurchaseSettings", "Purchaser", "ReplySpool", "Rewriter", "replay"]
