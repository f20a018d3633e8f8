"""Which pictures go into the requests of a batch: those of its rows, and those that are the same for all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..http.urls import redact_url
from ..providers import ResolvedModel
from ..providers.common_parameters import to_native
from ..values import content_reference
from .pictures import InputRefused, Picture, misfit, too_large
from .reader import InputReader, resolve

PLACEHOLDER = content_reference("0" * 64)
"""Stands for a picture where the parameters alone are looked at."""

_SEPARATORS = ("\n", "|")
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class RowInputs:
    """The pictures of one row.

    Attributes:
        pictures: By what they are for (`images`, `mask`): where each was found, and what it is.
        columns: The columns that name them.
    """

    pictures: Mapping[str, tuple[tuple[str, Picture], ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    def without_secrets(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """The row as it may be kept: no signatures of addresses, and no pictures themselves."""
        changed = {}
        for column in self.columns:
            cells = _cell(row, column)
            kept = [_without_secrets(cell) for cell in cells]
            if kept != cells:
                changed[column] = kept if isinstance(row[column], list | tuple) else " | ".join(kept)
        return {**row, **changed} if changed else row

    @property
    def words(self) -> dict[str, list[str]]:
        """The parameters that stand for them, in the common vocabulary."""
        return {
            word: [content_reference(one.sha256) for _, one in found] for word, found in self.pictures.items() if found
        }

    def native(self, model: ResolvedModel) -> Mapping[str, Any]:
        """The parameters that stand for them, in a model's own words."""
        return to_native(model, self.words).native if self.pictures else {}

    @property
    def places(self) -> dict[str, list[str]]:
        """Where they were found."""
        return {word: [place for place, _ in found] for word, found in self.pictures.items() if found}


NO_INPUTS = RowInputs()


@dataclass(frozen=True)
class InputSpec:
    """Where the pictures of each row are named.

    Attributes:
        columns: Columns of the source with pictures.
        mask_column: Column with the mask.
        images: Pictures for all rows; they come after those of the row.
        base: Folder or `s3://` prefix in which the paths of rows begin.
        strict: Whether a picture that the model takes only in a smaller copy is refused.
    """

    columns: tuple[str, ...] = ()
    mask_column: str | None = None
    images: tuple[str, ...] = ()
    base: str = ""
    strict: bool = False
    reader: InputReader = field(default_factory=InputReader, compare=False)

    @property
    def words(self) -> tuple[str, ...]:
        """What its pictures are for."""
        named = (("images", bool(self.columns or self.images)), ("mask", self.mask_column is not None))
        return tuple(word for word, is_there in named if is_there)

    @property
    def placeholders(self) -> dict[str, list[str]]:
        """Parameters as if each row had one picture of each kind."""
        return {word: [PLACEHOLDER] for word in self.words}

    def of(self, row: Mapping[str, Any], models: Sequence[ResolvedModel]) -> RowInputs:
        """The pictures of a row, checked for every model that may be asked.

        Raises:
            InputRefused: What is wrong with them.
            Unavailable: A store does not answer.
        """
        found: dict[str, tuple[tuple[str, Picture], ...]] = {}
        named = [(where, self.base) for column in self.columns for where in _cell(row, column)]
        named += [(where, str(Path.cwd())) for where in self.images]
        if self.columns and not named:
            raise InputRefused(f"no picture in {' or '.join(self.columns)}")
        if named:
            found["images"] = tuple(self._one(where, base) for where, base in named)
        if self.mask_column is not None:
            masks = _cell(row, self.mask_column)
            if len(masks) > 1:
                raise InputRefused(f"{self.mask_column}: {len(masks)} masks; a request has one")
            if masks:
                found["mask"] = (self._one(masks[0], self.base),)
        inputs = RowInputs(found, (*self.columns, *filter(None, [self.mask_column])))
        self._check(inputs, models)
        return inputs

    def _one(self, where: str, base: str) -> tuple[str, Picture]:
        try:
            place = resolve(where, base)
            return place, self.reader.look(place)
        except InputRefused as error:
            name = shown(where)
            raise InputRefused(error.reason if name in error.reason else f"{name}: {error.reason}") from None

    def _check(self, inputs: RowInputs, models: Sequence[ResolvedModel]) -> None:
        for model in models:
            for problem in to_native(model, inputs.words).problems:
                given = len(inputs.words.get(problem.field, ()))
                raise InputRefused(f"{model.name}: {problem.field}: {given} given; {problem.allowed}")
            limits = model.contract.inputs
            for where, picture in (one for found in inputs.pictures.values() for one in found):
                reason = misfit(picture, limits) or (too_large(picture, limits) if self.strict else None)
                if reason is not None:
                    hint = ", and --strict-images makes no smaller copy" if self.strict else ""
                    raise InputRefused(f"{shown(where)}: {reason}{hint}")
        masks, images = inputs.pictures.get("mask", ()), inputs.pictures.get("images", ())
        for where, mask in masks:
            if not images:
                raise InputRefused(f"{shown(where)}: a mask without an image to change")
            first = images[0][1]
            if (mask.width, mask.height) != (first.width, first.height):
                raise InputRefused(
                    f"{shown(where)}: the mask has {mask.width:,} x {mask.height:,} pixels, and the image "
                    f"{first.width:,} x {first.height:,}"
                )
            if not mask.transparent and any(model.contract.inputs.mask == "transparent" for model in models):
                raise InputRefused(
                    f"{shown(where)}: the mask has no transparency; the model changes what is clear in it"
                )


def shown(where: str) -> str:
    """A place as a message names it: nothing of it is a secret, or long."""
    if where[:5].lower() == "data:":
        return "data:…"
    return redact_url(where) if "://" in where else where[:_SHOWN]


def _without_secrets(where: str) -> str:
    if where[:5].lower() == "data:":
        return "data:…"
    # What stands behind a question mark may be a signature.
    return redact_url(where) if where.startswith(("http://", "https://")) and "?" in where else where


def _cell(row: Mapping[str, Any], column: str) -> list[str]:
    """The pictures that a cell names: one, a list, or several with `|` or line ends between them.

    Raises:
        InputRefused: There is no such column; something in it is no text.
    """
    if column not in row:
        raise InputRefused(f"there is no column {column!r}; there are {', '.join(row) or 'none'}")
    value = row[column]
    if isinstance(value, str):
        text = value.strip()
        if text[:1] == "[":
            try:
                value = json.loads(text)
            except ValueError:
                value = text
        if isinstance(value, str):
            for separator in _SEPARATORS:
                text = text.replace(separator, "\0")
            value = text.split("\0")
    if value is None:
        return []
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise InputRefused(f"{column}: a picture is named by text, or several by a list of texts")
    return [text for one in value if (text := one.strip())]
