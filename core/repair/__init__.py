"""Mending: asking the provider about lost answers, delivering what is paid for, comparing ledger and store."""

from .log import Asked, ask_log
from .repair import IncompleteRepair, RepairReport, Stores, repair

__all__ = ["Asked", "IncompleteRepair", "RepairReport", "Stores", "ask_log", "repair"]
