"""Where prompts come from and how one becomes many: sources, templates, variants, exclusions, limit and sample.

`PromptSpec` says what is wanted; `PromptSpec.prompts()` yields it, one `Prompt` at a time, in constant memory.
"""

from __future__ import annotations

from .combinations import Variant
from .errors import (
    PromptError,
    PromptFileError,
    PromptOptionError,
    TemplateError,
    TooExpensive,
    TooManyPrompts,
    VariantError,
)
from .expand import Prompt, PromptSpec
from .grammar import escape
from .resolve import Resolver
from .sources import PromptFormat, PromptSource, Row, open_source
from .template import PromptTemplate
from .variants import Variants, parse
from .wildcards import Wildcards, open_wildcards

__all__ = [
    "Prompt",
    "PromptError",
    "PromptFileError",
    "PromptFormat",
    "PromptOptionError",
    "PromptSource",
    "PromptSpec",
    "PromptTemplate",
    "Resolver",
    "Row",
    "TemplateError",
    "TooExpensive",
    "TooManyPrompts",
    "Variant",
    "VariantError",
    "Variants",
    "Wildcards",
    "escape",
    "open_source",
    "open_wildcards",
    "parse",
]
