"""Spending money: the only code that calls the paid endpoint."""

from .purchaser import Purchaser
from .recover import recover_calls, recover_replies
from .replies import ReplySpool
from .rewriter import Rewriter

__all__ = ["Purchaser", "ReplySpool", "Rewriter", "recover_calls", "recover_replies"]
