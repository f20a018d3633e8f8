"""One paid request: checked against the model's contract before anything is sent.

The provider drops unknown fields silently (public captures of 2026), so a misspelt parameter would be paid for and
ignored. Here it is an error that names what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadInput
from .common_parameters import PICTURES, Problem, Translation, to_native
from .fields import bad_character, prompt_length
from .registry import load_registry
from .spec import FieldSpec, Price, ResolvedModel

_MAX_DERIVED_SEED = 2**31 - 1
_ASK_FOR_URLS = {"convert_base64_to_url": True, "response_format": "url"}


@dataclass(eq=False, repr=False)
class InvalidRequest(BadInput):
    """The request does not fit the model's contract. `problems` names every field that is wrong."""

    model: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return f"{self.model}: {'; '.join(map(str, self.problems))}"


@dataclass(eq=False, repr=False)
class UnknownPrice(BadInput):
    """Nobody says what an image of the model costs, so nothing is sent."""

    model: str

    def __str__(self) -> str:
        return (
            f"the price of {self.model} is not known: no public source names one, and the API's catalogue did not "
            "quote it. Say what an image costs at most: --price USD (0 for a server of your own), or in a file of "
            "models (--models, see docs/models.md)"
        )


@dataclass(frozen=True, slots=True)
class Omission:
    """A parameter that was left out, because the model cannot do it and the user allowed that (`lenient`)."""

    model: str
    field: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.field}={self.value!r} ({self.model}: {self.why})"


def _some_model_can(name: str, value: Any) -> bool:
    """Whether it is something that a model can be asked for at all: a typing mistake is never left out."""
    return any(
        not to_native(ResolvedModel(spec, contract), {name: value}).problems
        for spec in load_registry().models
        for contract in spec.contracts
    )


def _leave_out(
    model: ResolvedModel, translation: Translation, parameters: Mapping[str, Any]
) -> tuple[Translation, tuple[Omission, ...]]:
    """Drop what this model cannot do and another one can."""
    omitted = tuple(
        Omission(model.name, problem.field, problem.value, problem.allowed)
        for problem in translation.problems
        if problem.field in parameters and _some_model_can(problem.field, problem.value)
    )
    if not omitted:
        return translation, ()
    dropped = {omission.field for omission in omitted}
    kept = {name: value for name, value in parameters.items() if name not in dropped}
    return to_native(model, kept), omitted


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A request that fits its model's contract. Make one with `ImageRequest.build`.

    Attributes:
        parameters: Only what was given, under the contract's own field names.
    """

    model: ResolvedModel
    prompt: str
    parameters: Mapping[str, Any] = field(repr=False)
    omitted: tuple[Omission, ...] = field(default=())

    @classmethod
    def build(
        cls,
        model: str | ResolvedModel,
        prompt: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        lenient: bool = False,
    ) -> ImageRequest:
        """Check a request against the model's contract.

        Args:
            prompt: Text of the image; not empty, within the model's limit in UTF-16 code units.
            parameters: Fields of the contract, or common parameters (`core.providers.common_parameters`); None values
                are left out.
            lenient: Leave out what this model cannot do and another one can, and say so in `omitted`.

        Raises:
            InvalidRequest: With one `Problem` for every field that is wrong.
            UnknownModel: No such model.
            WithdrawnModel: The provider no longer offers it.

        Example:
            >>> request = ImageRequest.build("imagen4/preview", "a fox", {"aspect_ratio": "16:9"})
            >>> request.body(seed=7)["model"]
            'imagen4/preview'
            >>> ImageRequest.build("openai/gpt-image-2", "a fox", {"aspect_ratio": "3:2"}).parameters
            {'size': '1536x1024'}
        """
        resolved = load_registry().resolve(model) if isinstance(model, str) else model
        given = parameters or {}
        translation = to_native(resolved, given)
        omitted: tuple[Omission, ...] = ()
        if lenient and translation.problems:
            translation, omitted = _leave_out(resolved, translation, given)
        native, problems = translation.native, list(translation.problems)
        if native.get("add_watermark") is True and "seed" in native:
            problems.append(Problem("seed", native["seed"], "no seed together with add_watermark=true"))
        problems += [
            Problem(name, None, f"{spec.description} Give {_where_from(name, spec)}")
            for name, spec in resolved.contract.fields.items()
            if spec.required and name not in translation.given
        ]
        problems.extend(_prompt_problems(resolved, prompt))
        if resolved.contract.inputs.by == "form":
            problems.extend(_addresses_for_files(resolved, native))
        if problems:
            raise InvalidRequest(resolved.name, tuple(problems))
        return cls(resolved, prompt, native, omitted)

    @property
    def num_images(self) -> int:
        """Images asked for, all of them paid."""
        name = self.model.contract.field_for("num_images")
        return int(self.parameters.get(name, 1)) if name is not None else 1

    @property
    def _price(self) -> Price:
        if self.model.spec.price is None:
            raise UnknownPrice(self.model.name)
        return self.model.spec.price

    @property
    def price(self) -> int:
        """Expected price of the request, in credits.

        Raises:
            UnknownPrice: Nobody says what it costs.
        """
        return self._price.credits * self.num_images

    @property
    def price_high(self) -> int:
        """Highest known price of the request, in credits: what is reserved before it is sent."""
        return self._price.credits_high * self.num_images

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

        Returns:
            None where the model takes no seed, or not together with the other parameters.
        """
        spec = self.model.contract.fields.get("seed")
        if spec is None or self.parameters.get("add_watermark") is True:
            return None
        low = int(spec.minimum or 0)
        high = int(spec.maximum) if spec.maximum is not None else _MAX_DERIVED_SEED
        return low + int(digest[:16], 16) % (high - low + 1)

    def seed(self, digest: str) -> int | None:
        """The seed that will be sent: the one asked for, else the derived one."""
        asked = self.parameters.get("seed")
        return int(asked) if asked is not None else self.derived_seed(digest)

    def body(self, *, seed: int | None = None) -> dict[str, Any]:
        """The JSON body. URLs are asked for where the model offers a choice, since a base64 reply is held in memory."""
        prompt = {"prompt": self.prompt} if self.model.contract.takes_prompt else {}
        body: dict[str, Any] = {"model": self.model.wire_model, **prompt, **self.parameters}
        if seed is not None and "seed" in self.model.contract.fields:
            body["seed"] = seed
        for name, value in _ASK_FOR_URLS.items():
            if name in self.model.contract.fields:
                body.setdefault(name, value)
        return body


def _where_from(name: str, spec: FieldSpec) -> str:
    """How a field is given."""
    if "images" in (name, spec.means):
        return "a column of pictures with --image-column, or one for all with --image"
    return "it"


def _addresses_for_files(model: ResolvedModel, native: Mapping[str, Any]) -> Iterator[Problem]:
    for name in filter(None, map(model.contract.field_for, PICTURES)):
        given = native.get(name)
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, str) and value.lower().startswith(("http:", "https:")):
                yield Problem(name, value, "the model takes files, not addresses: --image fetches one and sends it")


def _prompt_problems(model: ResolvedModel, prompt: str) -> list[Problem]:
    if not prompt.strip():
        return [Problem("prompt", prompt, "some text")]
    if allowed := bad_character(prompt):
        return [Problem("prompt", prompt, allowed)]
    limit, length = model.contract.prompt_limit, prompt_length(prompt)
    if limit is not None and length > limit:
        return [Problem("prompt", prompt, f"{length} characters; the limit is {limit}")]
    return []
