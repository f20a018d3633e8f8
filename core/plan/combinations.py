"""A matrix of parameters: each prompt is bought once in every combination of their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ..errors import BadInput
from ..providers import ImageRequest, ResolvedModel
from ..providers.common_parameters import translate
from ..providers.request import Omission
from ..values import canonical_json

Matrix = Mapping[str, Sequence[Any]]
"""Parameter → its values, such as `{"aspect_ratio": ["1:1", "16:9"]}`."""

_MOST = 1000


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """One combination of parameters, for any prompt.

    Attributes:
        number: Its place among the combinations, from 0.
        identity: The parameters that enter an item's id; see `ImageRequest.identity`.
        price_high: Highest known price of each item, in credits.
    """

    number: int
    identity: Mapping[str, Any] = field(hash=False)
    num_images: int
    price: int
    price_high: int
    omitted: tuple[Omission, ...] = field(default=(), hash=False, compare=False)


def read_matrix(matrix: Matrix, parameters: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Check a matrix as such, whatever the model.

    Raises:
        BadInput: No values, text in place of a list, more than 1,000 combinations, or a parameter given twice.
    """
    for name, values in matrix.items():
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
            raise BadInput(f"matrix: {name} needs a list of values, not {values!r}")
        if not values:
            raise BadInput(f"matrix: {name} has no values")
        if parameters.get(name) is not None:
            raise BadInput(f"matrix: {name} is given for every prompt already ({parameters[name]!r}); leave one out")
    count = math.prod(len(values) for values in matrix.values())
    if count > _MOST:
        raise BadInput(f"matrix: {count:,} combinations; at most {_MOST:,} are allowed")
    return {name: tuple(values) for name, values in matrix.items()}


def make_forms(
    model: ResolvedModel,
    parameters: Mapping[str, Any],
    matrix: Matrix,
    identify: Callable[[ImageRequest], Mapping[str, Any]] = ImageRequest.identity,
    *,
    lenient: bool = False,
    asked: ResolvedModel | None = None,
    placeholders: Mapping[str, Any] | None = None,
) -> tuple[ParameterSet, ...]:
    """The combinations, in the order of the matrix; its last parameter varies fastest.

    Args:
        asked: The model the parameters were given for, where `model` stands in for it.
        placeholders: Parameters that each row has its own values of, with one that is good to check the others.
    """
    forms: list[ParameterSet] = []
    known: dict[str, Mapping[str, Any]] = {}
    later = {model.contract.field_for(word) for word in placeholders or {}}
    for values in product(*matrix.values()):
        chosen = dict(zip(matrix, values, strict=True))
        wanted = {**parameters, **chosen}
        if asked is not None:
            wanted = translate(asked, model, wanted)
        request = ImageRequest.build(model, "a prompt", {**wanted, **(placeholders or {})}, lenient=lenient)
        identity = {name: value for name, value in identify(request).items() if name not in later}
        twin = known.setdefault(canonical_json(identity), chosen)
        if twin is not chosen:
            raise BadInput(f"matrix: {_shown(twin)} and {_shown(chosen)} are the same purchase; leave one out")
        price, high = request.price, request.price_high
        forms.append(ParameterSet(len(forms), identity, request.num_images, price, high, request.omitted))
    return tuple(forms)


def _shown(chosen: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in chosen.items())
