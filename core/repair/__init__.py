"""Mending: asking the provider about lost answers, delivering what is paid for, comparing ledger and store."""

from ..purchase.log import Asked, ask_log
from .rebuild import RebuildReport, rebuild
from .reconcile import Finding, FindingKind, ReconcileReport, reconcile
from .repair import IncompleteRepair, RepairReport, Stores, repair

__all__ = [
    "Asked",
    "Finding",
    "FindingKind",
    "IncompleteRepair",
    "RebuildReport",
    "ReconcileReport",
    "RepairReport",
    "Stores",
    "ask_log",
    "rebuild",
    "reconcile",
    "repair",
]
