"""Prompts, model and parameters become a batch of items; a plan says what it would cost, and can be kept in a file."""

from .availability import ModelAvailability, make_terms
from .batch import AnyBatch, open_batch
from .file import PlanFile, PlanWriter, open_plan
from .plan import InputPlan, Plan, RewritePlan, make_plan
from .revisions import RevisedRow, RevisionBatch, revised_item
from .rows import BatchBase
from .spec import BatchSpec, InvalidPrompts, read_parameters

__all__ = [
    "AnyBatch",
    "BatchBase",
    "BatchSpec",
    "InputPlan",
    "InvalidPrompts",
    "ModelAvailability",
    "Plan",
    "PlanFile",
    "PlanWriter",
    "RevisedRow",
    "RevisionBatch",
    "RewritePlan",
    "make_plan",
    "make_terms",
    "open_batch",
    "open_plan",
    "read_parameters",
    "revised_item",
]
