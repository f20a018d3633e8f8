"""One paid request: checked against the model's contract before anything is sent.

The provider drops unknown fields silently (public captures of 2026), so a misspelt parameter would be paid for and
ignored. Here it is an error that names what is allowed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from .registry import FieldSpec, ResolvedModel, load_registry

__all__ = ["ImageRequest", "InvalidRequest", "Problem", "parse_parameter", "prompt_length"]

_PIXELS = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})")
_MAX_DERIVED_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: the field, the value that was given, what is allowed."""

    field: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        shown = repr(self.value)
        if len(shown) > 60:
            shown = f"{shown[:57]}..."
        return f"{self.field}: {shown} is not allowed ({self.allowed})"


class InvalidRequest(BadInput):
    """The request does not fit the model's contract. `problems` names every field that is wrong."""

    def __init__(self, model: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(model, problems)
        self.model = model
        self.problems = problems

    def __str__(self) -> str:
        return f"{self.model}: {'; '.join(map(str, self.problems))}"


def prompt_length(prompt: str) -> int:
    """Length of a prompt in UTF-16 code units.

    The provider validates with Zod, in JavaScript, where a string's length counts UTF-16 units; for ordinary text it
    equals the number of characters. Counting the larger of the two never lets a prompt through that is refused there.
    """
    return len(prompt.encode("utf-16-le", "surrogatepass")) // 2


def _check_integer(spec: FieldSpec, value: Any) -> str | None:
    low, high = spec.minimum, spec.maximum
    bounds = f"{low if low is not None else '…'} to {high if high is not None else '…'}"
    if isinstance(value, bool) or not isinstance(value, int):
        return f"an integer, {bounds}"
    if (low is not None and value < low) or (high is not None and value > high):
        return f"an integer, {bounds}"
    return None


def _check_size(spec: FieldSpec, value: Any) -> str | None:
    low, high, step = spec.minimum or 1, spec.maximum or 16384, spec.multiple_of or 1
    allowed = f"one of {', '.join(spec.choices)}, or WIDTHxHEIGHT of {low} to {high}, multiples of {step}"
    if isinstance(value, str):
        return None if value in spec.choices else allowed
    if not isinstance(value, Mapping) or set(value) != {"width", "height"}:
        return allowed
    for side in value.values():
        if isinstance(side, bool) or not isinstance(side, int):
            return allowed
        if not low <= side <= high or side % step:
            return allowed
    return None


def _check(spec: FieldSpec, value: Any) -> str | None:
    """Return what would be allowed if `value` is not, else None."""
    match spec.kind:
        case "integer":
            return _check_integer(spec, value)
        case "size":
            return _check_size(spec, value)
        case "boolean":
            return None if isinstance(value, bool) else "true or false"
        case "choice":
            return None if value in spec.choices else f"one of {', '.join(spec.choices)}"
        case "text":
            return _bad_character(value) if isinstance(value, str) else "text"


def _bad_character(text: str) -> str | None:
    if "\x00" in text:
        return "text without NUL characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "well-formed Unicode (there is half a surrogate pair)"
    return None


def parse_parameter(spec: FieldSpec, text: str) -> Any:
    """Read a parameter as typed on a command line; what cannot be read is returned as text, for the check to refuse.

    Example:
        >>> size = load_registry().resolve("flux/schnell").contract.fields["image_size"]
        >>> parse_parameter(size, "512x768")
        {'width': 512, 'height': 768}
    """
    stripped = text.strip()
    if spec.kind == "integer" and re.fullmatch(r"[+-]?\d+", stripped):
        return int(stripped)
    if spec.kind == "boolean" and stripped.lower() in {"true", "yes", "1", "false", "no", "0"}:
        return stripped.lower() in {"true", "yes", "1"}
    if spec.kind == "size" and (pixels := _PIXELS.fullmatch(stripped)):
        return {"width": int(pixels[1]), "height": int(pixels[2])}
    return text


def _native(model: ResolvedModel, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Drop what was not given, and turn `aspect_ratio` into the model's own sizing where that is another one."""
    native = {name: value for name, value in parameters.items() if value is not None}
    ratios = model.contract.aspect_ratios
    if ratios is None or "aspect_ratio" not in native:
        return native, []
    ratio = native.pop("aspect_ratio")
    if "image_size" in native:
        return native, [Problem("aspect_ratio", ratio, "aspect_ratio or image_size, not both")]
    if not isinstance(ratio, str) or ratio not in ratios:
        return native, [Problem("aspect_ratio", ratio, f"one of {', '.join(ratios)}, or image_size")]
    native["image_size"] = ratios[ratio]
    return native, []


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request that fits its model's contract. Make one with `ImageRequest.build`.

    Attributes:
        model: Model and contract.
        prompt: The text, as it will be sent.
        parameters: Only what was given, under the contract's own field names.
    """

    model: ResolvedModel
    prompt: str
    parameters: Mapping[str, Any]

    @classmethod
    def build(
        cls, model: str | ResolvedModel, prompt: str, parameters: Mapping[str, Any] | None = None
    ) -> ImageRequest:
        """Check a request against the model's contract.

        Args:
            model: Id, alias or `MODEL@CONTRACT`; see `core.aimlapi.registry`.
            prompt: Text of the image; not empty, within the model's limit in UTF-16 code units.
            parameters: Fields of the contract, plus `aspect_ratio` for every model; None values are left out.

        Raises:
            InvalidRequest: With one `Problem` for every field that is wrong.
            UnknownModel: No such model.
            WithdrawnModel: The provider no longer offers it.

        Example:
            >>> request = ImageRequest.build("imagen4/preview", "a fox", {"aspect_ratio": "16:9"})
            >>> request.body(seed=7)["model"]
            'imagen4/preview'
        """
        resolved = load_registry().resolve(model) if isinstance(model, str) else model
        native, problems = _native(resolved, parameters or {})
        fields = resolved.contract.fields
        for name, value in native.items():
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                problems.append(Problem(name, value, f"{hint}fields of this model: {', '.join(fields)}"))
            elif (allowed := _check(fields[name], value)) is not None:
                problems.append(Problem(name, value, allowed))
        if native.get("add_watermark") is True and "seed" in native:
            problems.append(Problem("seed", native["seed"], "no seed together with add_watermark=true"))
        problems.extend(_prompt_problems(resolved, prompt))
        if problems:
            raise InvalidRequest(resolved.name, tuple(problems))
        return cls(resolved, prompt, native)

    @property
    def num_images(self) -> int:
        """Images asked for, all of them paid."""
        return int(self.parameters.get("num_images", 1))

    @property
    def price(self) -> int:
        """Expected price of the request, in credits."""
        return self.model.spec.price.credits * self.num_images

    @property
    def price_high(self) -> int:
        """Highest known price of the request, in credits: what is reserved before it is sent."""
        return self.model.spec.price.credits_high * self.num_images

    def identity(self) -> dict[str, Any]:
        """The parameters that say which purchase this is.

        A parameter given with its default value is the same as one left out; fields of the wire form (URL or base64)
        do not count. So a request keeps its identity when the registry learns of a new field.
        """
        fields = self.model.contract.fields
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in sorted(self.parameters.items())
            if fields[name].identity and value != fields[name].default
        }

    def derived_seed(self, digest: str) -> int | None:
        """The seed to send where none was asked for: taken from the item's id, within the model's range.

        Args:
            digest: The item's id, hexadecimal.

        Returns:
            None where the model takes no seed, or not together with the other parameters.
        """
        spec = self.model.contract.fields.get("seed")
        if spec is None or self.parameters.get("add_watermark") is True:
            return None
        low = spec.minimum or 0
        high = spec.maximum if spec.maximum is not None else _MAX_DERIVED_SEED
        return low + int(digest[:16], 16) % (high - low + 1)

    def seed(self, digest: str) -> int | None:
        """The seed that will be sent: the one asked for, else the derived one."""
        asked = self.parameters.get("seed")
        return int(asked) if asked is not None else self.derived_seed(digest)

    def body(self, *, seed: int | None = None) -> dict[str, Any]:
        """The JSON body. URLs are asked for where the model offers a choice, since a base64 reply is held in memory.

        Args:
            seed: Sent if the contract has a seed; see `seed()`.
        """
        body: dict[str, Any] = {"model": self.model.wire_model, "prompt": self.prompt, **self.parameters}
        if seed is not None and "seed" in self.model.contract.fields:
            body["seed"] = seed
        if "convert_base64_to_url" in self.model.contract.fields:
            body.setdefault("convert_base64_to_url", True)
        return body


def _prompt_problems(model: ResolvedModel, prompt: str) -> list[Problem]:
    if not prompt.strip():
        return [Problem("prompt", prompt, "some text")]
    if allowed := _bad_character(prompt):
        return [Problem("prompt", prompt, allowed)]
    limit, length = model.contract.prompt_limit, prompt_length(prompt)
    if limit is not None and length > limit:
        return [Problem("prompt", prompt, f"{length} characters; the limit is {limit}")]
    return []
