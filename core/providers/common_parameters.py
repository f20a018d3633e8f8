"""One vocabulary for users, translated into the fields of each model, and back.

    word              models ask for it as
    aspect_ratio      aspect_ratio · a preset or pixels in image_size · size
    size              WIDTHxHEIGHT: image_size · size · the aspect ratio that has these pixels
    resolution        resolution (1K, 2k) · a part of image_size
    num_images        num_images · n · nothing, where a request makes one image
    images, mask      image_urls · image_url · image · mask_url …
    seed, negative_prompt, output_format and all others: under their own name, where the model has them

A model's own fields can be given by their own names as well. What a model cannot do is a `Problem`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..values import is_content_reference
from .fields import parse_parameter, settled, what_is_allowed
from .spec import Contract, FieldSpec, ResolvedModel, Size

PICTURES = ("images", "mask")
"""Pictures that go into a request: what an image is made from, and which part of it is to change."""

COMMON = ("aspect_ratio", "size", "resolution", "num_images", "seed", "negative_prompt", "output_format")
"""What a user can ask of any model, by these names."""

_INTEGER = FieldSpec(kind="integer", description="")
_TEXT = FieldSpec(kind="text", description="")
_TYPED = {"num_images": _INTEGER, "seed": _INTEGER}
_SIZING = ("aspect_ratio", "size", "resolution")
_WXH = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: the field, the value that was given, what is allowed."""

    field: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.field}: it is not given ({self.allowed})"
        shown = "a picture" if _is_picture(self.value) else repr(self.value)
        if len(shown) > 60:
            shown = f"{shown[:57]}..."
        return f"{self.field}: {shown} is not allowed ({self.allowed})"


@dataclass(frozen=True, slots=True)
class Translation:
    """Parameters in a model's own words.

    Attributes:
        native: By the contract's field names.
        given: Field name to the name under which the user gave it.
    """

    native: Mapping[str, Any]
    given: Mapping[str, str]
    problems: tuple[Problem, ...]


def _is_picture(value: Any) -> bool:
    texts = value if isinstance(value, list | tuple) else [value]
    return bool(texts) and all(isinstance(text, str) and is_content_reference(text) for text in texts)


def read_parameter(model: ResolvedModel, name: str, text: str) -> Any:
    """Read a parameter typed on a command line, by the kind of the field that it goes to."""
    contract = model.contract
    field = contract.field_for(name)
    if field is None and name in _SIZING:
        return text
    return parse_parameter(contract.fields[field] if field else _TYPED.get(name, _TEXT), text)


def to_native(model: ResolvedModel, parameters: Mapping[str, Any]) -> Translation:
    """Translate parameters for a model, and check each of them.

    Args:
        parameters: Words of the vocabulary and fields of the model; None values are left out.
    """
    contract = model.contract
    wanted = {name: value for name, value in parameters.items() if value is not None}
    native: dict[str, Any] = {}
    given: dict[str, str] = {}
    problems: list[Problem] = []

    def put(field: str, name: str, value: Any) -> None:
        if field in native:
            problems.append(Problem(name, value, f"{given[field]} or {name}, not both"))
            return
        given[field] = name
        allowed = what_is_allowed(contract.fields[field], value)
        if allowed is None:
            native[field] = settled(value) if contract.fields[field].kind != "size" else value
        else:
            problems.append(Problem(name, value, _hint(contract, field, allowed)))

    for name, value in wanted.items():
        if name in _SIZING:
            continue
        field = contract.field_for(name)
        if field is not None:
            spec = contract.fields[field]
            put(field, name, _as_taken(spec, value) if name in PICTURES or spec.means in PICTURES else value)
        elif name in PICTURES:
            what = "images" if name == "images" else "mask"
            problems.append(Problem(name, value, f"this model takes no {what}"))
        elif name == "num_images":
            if isinstance(value, bool) or value != 1:
                problems.append(Problem(name, value, "this model makes one image a request; repeat buys more"))
        else:
            problems.append(Problem(name, value, _unknown(contract, name)))
    for field, name, value, problem in _sizes(model, {w: wanted[w] for w in _SIZING if w in wanted}, native):
        if problem is not None:
            problems.append(Problem(name, value, problem))
        elif field is not None:
            put(field, name, value)
    return Translation(native, given, tuple(problems))


def _as_taken(spec: FieldSpec, value: Any) -> Any:
    """Pictures in the form of a field: a list, or the only one by itself."""
    if spec.kind == "list":
        return [value] if isinstance(value, str) else value
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _hint(contract: Contract, field: str, allowed: str) -> str:
    if field == contract.sizing and contract.aspect_ratios:
        return f"{allowed}; or aspect_ratio"
    return allowed


def _unknown(contract: Contract, name: str) -> str:
    words = [word for word in COMMON if contract.field_for(word) or (word == "aspect_ratio" and contract.sizing)]
    known = list(dict.fromkeys([*contract.fields, *words]))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}fields of this model: {', '.join(contract.fields)}"


_Step = tuple[str | None, str, Any, str | None]
"""Field, the name it was given by, value; or, with the field None, what is allowed instead."""


def _sizes(model: ResolvedModel, wanted: Mapping[str, Any], native: Mapping[str, Any]) -> list[_Step]:
    """Translate what is said of the size."""
    contract = model.contract
    if not wanted:
        return []
    if "aspect_ratio" in wanted and "size" in wanted:
        return [(None, "aspect_ratio", wanted["aspect_ratio"], "aspect_ratio or size, not both")]
    sizing = contract.sizing
    if sizing is None:
        return _by_ratio(model, wanted)
    if sizing in native:
        return [(None, name, value, f"{name} or {sizing}, not both") for name, value in wanted.items()]
    if "size" in wanted:
        if "resolution" in wanted:
            return [(None, "resolution", wanted["resolution"], "resolution or size, not both")]
        return [(sizing, "size", _pixels(wanted["size"], as_text=sizing == "size"), None)]
    return _by_table(contract, sizing, wanted)


def _by_ratio(model: ResolvedModel, wanted: Mapping[str, Any]) -> list[_Step]:
    """For models with a field `aspect_ratio`, or without any size."""
    contract = model.contract
    steps: list[_Step] = []
    for name, value in wanted.items():
        if name == "size" and "aspect_ratio" in contract.fields:
            pixels = _pixels(value, as_text=True)
            known = {f"{wide}x{high}": ratio for ratio, (wide, high) in model.spec.pixels.items()}
            if pixels in known:
                steps.append(("aspect_ratio", name, known[pixels], None))
            else:
                steps.append(
                    (None, name, value, f"one of {', '.join(known)}; or aspect_ratio" if known else "aspect_ratio")
                )
        elif name in contract.fields:
            steps.append((name, name, _same_word(value, contract.fields[name].choices), None))
        else:
            steps.append((None, name, value, _unknown(contract, name)))
    return steps


def _by_table(contract: Contract, sizing: str, wanted: Mapping[str, Any]) -> list[_Step]:
    """For models whose sizes stand in a table of aspect ratios, perhaps one for each resolution."""
    table: Mapping[str, Size] = contract.aspect_ratios or {}
    resolution, ratio = wanted.get("resolution"), wanted.get("aspect_ratio")
    if resolution is not None:
        name = _same_word(resolution, tuple(contract.resolutions))
        if not isinstance(name, str) or name not in contract.resolutions:
            known = (
                f"one of {', '.join(contract.resolutions)}"
                if contract.resolutions
                else _unknown(contract, "resolution")
            )
            return [(None, "resolution", resolution, known)]
        if ratio is None:
            return [(sizing, "resolution", name, None)]
        table = contract.resolutions[name]
    if not isinstance(ratio, str) or ratio not in table:
        return [(None, "aspect_ratio", ratio, f"one of {', '.join(table)}, or {sizing}")]
    return [(sizing, "aspect_ratio", _as_asked(table[ratio]), None)]


def _as_asked(size: Size) -> Any:
    return size if isinstance(size, str) else {"width": size[0], "height": size[1]}


def _same_word(value: Any, choices: tuple[str, ...]) -> Any:
    """A choice in the spelling of the model: 2K where it says 2k."""
    if not isinstance(value, str):
        return value
    return next((choice for choice in choices if choice.lower() == value.lower()), value)


def _pixels(value: Any, *, as_text: bool) -> Any:
    """Width and height, in the form that is wanted; what is neither stays as it is, for the check to refuse."""
    if isinstance(value, str) and (match := _WXH.fullmatch(value.strip())):
        wide, high = int(match[1]), int(match[2])
    elif isinstance(value, Mapping) and set(value) == {"width", "height"}:
        wide, high = value["width"], value["height"]
    else:
        return value
    return f"{wide}x{high}" if as_text else {"width": wide, "height": high}


def translate(old: ResolvedModel, new: ResolvedModel, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a request to one model, as another one is to be asked for the same image.

    The old model's own fields become words of the vocabulary. An aspect ratio that the old model assumed is said to the
    new one, where that assumes another. What concerns the wire alone (`response_format`, `provider`) stays behind.

    Returns:
        Parameters to be translated for the new model, which may find that it cannot do some of them.
    """
    contract = old.contract
    carried: dict[str, Any] = {}
    for name, value in parameters.items():
        field = contract.fields.get(name)
        if value is None or (field is not None and not field.identity):
            continue
        if name == contract.sizing:
            carried.update(_said(old, value))
        elif field is not None and field.means is not None:
            carried[field.means] = value
        else:
            carried[name] = value
    if not set(_SIZING) & set(carried):
        ratio = _default_ratio(old)
        if ratio is not None and ratio != _default_ratio(new):
            carried["aspect_ratio"] = ratio
    if "size" in carried and "aspect_ratio" in new.contract.fields:
        # Its pixels are the new model's business; the shape is what can be kept.
        match = _WXH.fullmatch(str(carried["size"]))
        ratio = _ratio(int(match[1]), int(match[2])) if match else None
        if ratio in new.contract.fields["aspect_ratio"].choices:
            del carried["size"]
            carried["aspect_ratio"] = ratio
    return carried


def _ratio(wide: int, high: int) -> str:
    shared = math.gcd(wide, high) or 1
    return f"{wide // shared}:{high // shared}"


def _said(model: ResolvedModel, value: Any) -> dict[str, Any]:
    """A value of a sizing field in words of the vocabulary."""
    contract = model.contract
    pixels = (value["width"], value["height"]) if isinstance(value, Mapping) and len(value) == 2 else None
    wanted: Any = pixels if pixels is not None else value
    for ratio, size in (contract.aspect_ratios or {}).items():
        if size == wanted:
            return {"aspect_ratio": ratio}
    if isinstance(value, str) and value in contract.resolutions:
        return {"resolution": value}
    for resolution, table in contract.resolutions.items():
        for ratio, size in table.items():
            if size == wanted:
                return {"aspect_ratio": ratio, "resolution": resolution}
    if isinstance(value, str):
        pixels = model.spec.pixels.get(value)
        return {"size": f"{pixels[0]}x{pixels[1]}" if pixels else value}
    return {"size": _pixels(value, as_text=True)}


def _default_ratio(model: ResolvedModel) -> str | None:
    """The aspect ratio that a model assumes, as far as it is known."""
    contract = model.contract
    field = contract.fields.get("aspect_ratio")
    if field is not None:
        return field.default if isinstance(field.default, str) else None
    if contract.sizing is None:
        return None
    default = contract.fields[contract.sizing].default
    pixels = model.spec.pixels.get(default) if isinstance(default, str) else None
    return _ratio(*pixels) if pixels else None
