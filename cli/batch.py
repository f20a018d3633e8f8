"""What is asked for, as typed on a command line, checked without any service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.aimlapi import load_registry
from ..core.errors import BadInput
from ..core.plan import BatchSpec, read_parameters
from ..core.prompts import PromptSpec

__all__ = ["Batch", "read_pairs"]


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


def _read_template(text: str | None) -> str | None:
    """A template, or with `@` before it the file it is in."""
    if text is None or not text.startswith("@"):
        return text
    path = Path(text[1:]).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"--template: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"--template: {path} is not UTF-8 text") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts, model and parameters of a command line.

    Attributes:
        prompts: Path of the file.
        prompt_column, template, variants, limit, sample, sample_seed: Which prompts; see `PromptSpec`.
        model, parameters, edition, repeat, skip_invalid: What of them; see `BatchSpec`.
    """

    prompts: str
    prompt_column: str | None = None
    template: str | None = None
    variants: bool = True
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    edition: str = ""
    repeat: int = 1
    skip_invalid: bool = False

    @classmethod
    def typed(
        cls,
        *,
        template: str | None,
        model: str,
        aspect_ratio: str | None,
        num_images: int | None,
        seed: int | None,
        further: Iterable[str] | None,
        edition: str,
        **rest: Any,
    ) -> Batch:
        """Read what was typed.

        Raises:
            BadInput: An unknown model, a `--set` that cannot be read or repeats an option, no template file.
        """
        own = {"aspect_ratio": aspect_ratio, "num_images": num_images, "seed": seed}
        parameters = {name: value for name, value in own.items() if value is not None}
        pairs = read_pairs(further, "--set")
        for name in pairs.keys() & parameters.keys():
            raise BadInput(f"--set: {name!r} is given by --{name.replace('_', '-')} already")
        return cls(
            template=_read_template(template),
            model=model,
            parameters={**parameters, **read_parameters(load_registry().resolve(model), pairs)},
            edition=edition.replace("{scheduled_date}", datetime.now(UTC).date().isoformat()),
            **rest,
        )

    def spec(self) -> BatchSpec:
        """What the core understands.

        Raises:
            BadInput: A number out of range.
        """
        source = PromptSpec(
            self.prompts,
            prompt_column=self.prompt_column,
            template=self.template,
            variants=self.variants,
            limit=self.limit,
            sample=self.sample,
            sample_seed=self.sample_seed,
        )
        return BatchSpec(
            source,
            model=self.model,
            parameters=self.parameters,
            edition=self.edition,
            repeat=self.repeat,
            skip_invalid=self.skip_invalid,
        )

    def flow_parameters(self) -> dict[str, Any]:
        """The same as parameters of `imagen_pipeline`, those with a field of their own in it apart."""
        own = ("aspect_ratio", "num_images", "seed")
        return {
            "prompts": self.prompts,
            "prompt_column": self.prompt_column,
            "template": self.template,
            "variants": self.variants,
            "limit": self.limit,
            "sample": self.sample,
            "sample_seed": self.sample_seed,
            "model": self.model,
            **{name: self.parameters.get(name) for name in own},
            "parameters": {name: value for name, value in self.parameters.items() if name not in own} or None,
            "edition": self.edition,
            "repeat": self.repeat,
            "skip_invalid": self.skip_invalid,
        }
