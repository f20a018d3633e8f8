"""Prompts, model and parameters become a batch of items; a plan says what it would cost, and can be kept in a file."""

from .availability import ModelAvailability, make_terms
from .batch import AnyBatch, open_batch
from .combinations import Matrix, ParameterSet
from .file import PlanFile, PlanWriter, open_plan
from .plan import Plan, RewritePlan, make_plan
from .rows import BatchBase, Candidate, PlannedRow
from .spec import BatchSpec, InvalidPrompt, InvalidPrompts, read_parameters

__all__ = [
    "AnyBatch",
    "BatchBase",
    "BatchSpec",
    "Candidate",
    "InvalidPrompt",
    "InvalidPrompts",
    "Matrix",
    "ModelAvailability",
    "ParameterSet",
    "Plan",
    "PlanFile",
    "PlanWriter",
    "PlannedRow",
    "RewritePlan",
    "make_plan",
    "make_terms",
    "open_batch",
    "open_plan",
    "read_parameters",
]
