"""Prompts, model and parameters become a batch of items; a plan says what it would cost."""

from .plan import Plan, make_plan
from .spec import BatchSpec, InvalidPrompt, InvalidPrompts, read_parameters

__all__ = ["BatchSpec", "InvalidPrompt", "InvalidPrompts", "Plan", "make_plan", "read_parameters"]
