"""Prompts, model and parameters become a batch of items; a plan says what it would cost, and can be kept in a file."""

from .asking import Asking, Candidate, Wanted
from .batch import AnyBatch, open_batch
from .file import PlanFile, PlanWriter, open_plan
from .matrix import Form, Matrix
from .plan import Plan, RewritePlan, make_plan
from .spec import BatchSpec, InvalidPrompt, InvalidPrompts, read_parameters
from .terms import Terms, make_terms

__all__ = [
    "AnyBatch",
    "Asking",
    "BatchSpec",
    "Candidate",
    "Form",
    "InvalidPrompt",
    "InvalidPrompts",
    "Matrix",
    "Plan",
    "PlanFile",
    "PlanWriter",
    "RewritePlan",
    "Terms",
    "Wanted",
    "make_plan",
    "make_terms",
    "open_batch",
    "open_plan",
    "read_parameters",
]
