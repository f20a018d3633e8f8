"""Prompts, model and parameters become a batch of items; a plan says what it would cost, and can be kept in a file."""

from .batch import AnyBatch, BatchOptions, open_batch
from .file import PlanFile, PlanWriter, open_plan
from .matrix import Form, Matrix
from .plan import Plan, RewritePlan, make_plan
from .spec import BatchSpec, InvalidPrompt, InvalidPrompts, read_parameters

__all__ = [
    "AnyBatch",
    "BatchOptions",
    "BatchSpec",
    "Form",
    "InvalidPrompt",
    "InvalidPrompts",
    "Matrix",
    "Plan",
    "PlanFile",
    "PlanWriter",
    "RewritePlan",
    "make_plan",
    "open_batch",
    "open_plan",
    "read_parameters",
]
