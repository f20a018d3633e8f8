"""What is asked for, as typed on a command line, checked without any service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.aimlapi import ResolvedModel, load_registry
from ..core.errors import BadInput
from ..core.plan import AnyBatch, open_batch, open_plan, read_parameters
from ..core.request import RunRequest

if TYPE_CHECKING:
    import typer

__all__ = ["Batch", "read_pairs", "typed_options"]

_DECIDING = frozenset(
    {
        *("prompt_column", "template", "no_variants", "wildcards", "exclude", "per_row", "limit", "sample"),
        *("sample_seed", "max_prompts", "skip_invalid", "model", "aspect_ratio", "num_images", "seed", "further"),
        *("matrix", "edition", "repeat", "rewrite", "rewrites", "brief", "rewrite_price"),
    }
)
"""Parameters of commands that decide which items there are: a plan has decided that already."""

_TYPED = "COMMANDLINE"


def typed_options(context: typer.Context) -> tuple[str, ...]:
    """Those options on the command line that decide which items there are, as they are written."""
    return tuple(
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in _DECIDING and getattr(context.get_parameter_source(parameter.name), "name", "") == _TYPED
    )


def read_pairs(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """Read `NAME=VALUE` arguments.

    Raises:
        BadInput: Not of that form, or a name given twice.
    """
    pairs: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        name = name.strip()
        if not separator or not name:
            raise BadInput(f"{option}: {text!r} is not of the form NAME=VALUE")
        if name in pairs:
            raise BadInput(f"{option}: {name!r} is given twice")
        pairs[name] = value
    return pairs


def _read_matrix(texts: Iterable[str] | None, model: ResolvedModel) -> dict[str, list[Any]]:
    """Read `NAME=V1,V2` arguments.

    Raises:
        BadInput: Not of that form, a name given twice, an empty value.
    """
    matrix: dict[str, list[Any]] = {}
    for name, text in read_pairs(texts, "--matrix").items():
        values = [value.strip() for value in text.split(",")]
        if not all(values):
            raise BadInput(f"--matrix: {name}={text} has an empty value; write {name}=V1,V2")
        matrix[name] = [read_parameters(model, {name: value})[name] for value in values]
    return matrix


def _read_text(text: str | None, option: str) -> str | None:
    """A template or brief, or with `@` before it the file it is in."""
    if text is None or not text.startswith("@"):
        return text
    path = Path(text[1:]).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{option}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{option}: {path} is not UTF-8 text") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts, model and parameters of a command line.

    Attributes:
        prompts: Path of the file.
        prompt_column, template, variants, wildcards, exclude, per_row, limit, sample, sample_seed, max_prompts: Which
            prompts; see `PromptSpec`.
        model, parameters, matrix, edition, repeat, skip_invalid: What of them; see `BatchSpec`.
        fallback, lenient: Who may stand in, and what may be left out; see `BatchSpec`.
        rewrite, rewrites, brief, rewrite_price: How they are rewritten first; see `RewriteSpec`.
    """

    prompts: str
    prompt_column: str | None = None
    template: str | None = None
    variants: bool = True
    wildcards: str | None = None
    exclude: Sequence[str] | None = None
    per_row: int | None = None
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    max_prompts: int | None = None
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    matrix: dict[str, list[Any]] = field(default_factory=dict)
    edition: str = ""
    repeat: int = 1
    skip_invalid: bool = False
    rewrite: str | None = None
    rewrites: int = 1
    brief: str | None = None
    rewrite_price: str | None = None
    fallback: Sequence[str] | None = None
    lenient: bool = False

    @classmethod
    def typed(
        cls,
        *,
        prompts: str,
        template: str | None,
        model: str,
        aspect_ratio: str | None,
        num_images: int | None,
        seed: int | None,
        further: Iterable[str] | None,
        matrix: Iterable[str] | None = None,
        edition: str,
        brief: str | None = None,
        options: Sequence[str] = (),
        **rest: Any,
    ) -> Batch:
        """Read what was typed.

        Args:
            prompts: File of prompts, or a plan.
            options: The options that were typed, of those that decide which items there are.

        Raises:
            BadInput: An unknown model, a `--set` that cannot be read or repeats an option, no template file; a plan
                together with an option that would change it.
        """
        if options and open_plan(prompts) is not None:
            raise BadInput(f"{prompts} is a plan and says itself what is bought; leave out {', '.join(options)}")
        own = {"aspect_ratio": aspect_ratio, "num_images": num_images, "seed": seed}
        parameters = {name: value for name, value in own.items() if value is not None}
        pairs = read_pairs(further, "--set")
        for name in pairs.keys() & parameters.keys():
            raise BadInput(f"--set: {name!r} is given by --{name.replace('_', '-')} already")
        # Its own words are read even where it is gone: another model may stand in, and if none does, it is said later.
        resolved = load_registry().resolve(model, allow_withdrawn=True)
        return cls(
            prompts=prompts,
            template=_read_text(template, "--template"),
            brief=_read_text(brief, "--brief"),
            model=model,
            parameters={**parameters, **read_parameters(resolved, pairs)},
            matrix=_read_matrix(matrix, resolved),
            edition=edition.replace("{scheduled_date}", datetime.now(UTC).date().isoformat()),
            **rest,
        )

    def spec(self) -> AnyBatch:
        """What the core understands.

        Raises:
            BadInput: A number out of range.
        """
        return open_batch(self.prompts, RunRequest.by_flag(self.flags()))

    def flags(self) -> dict[str, Any]:
        """The same by the names of their flags; see `RunRequest.by_flag`."""
        return {
            "prompt_column": self.prompt_column,
            "template": self.template,
            "no_variants": not self.variants,
            "wildcards": self.wildcards,
            "exclude": tuple(self.exclude or ()),
            "per_row": self.per_row,
            "limit": self.limit,
            "sample": self.sample,
            "sample_seed": self.sample_seed,
            "max_prompts": self.max_prompts,
            "model": self.model,
            "set": self.parameters,
            "matrix": self.matrix,
            "edition": self.edition,
            "repeat": self.repeat,
            "skip_invalid": self.skip_invalid,
            "rewrite": self.rewrite,
            "rewrites": self.rewrites if self.rewrites != 1 else None,
            "brief": self.brief,
            "rewrite_price": self.rewrite_price,
            "fallback": tuple(self.fallback or ()),
            "lenient": self.lenient,
        }
