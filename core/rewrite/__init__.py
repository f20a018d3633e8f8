"""Prompts rewritten by a language model: what is asked for, in which words, and what of an answer is of use.

It sends nothing: `core.purchase` does, since every rewrite is paid.
"""

from .answers import UnusableAnswer, read_answer
from .spec import RewriteSpec, no_second_rewriting
from .wording import TRIES, make_request, price, price_high

__all__ = [
    "TRIES",
    "RewriteSpec",
    "UnusableAnswer",
    "make_request",
    "no_second_rewriting",
    "price",
    "price_high",
    "read_answer",
]
