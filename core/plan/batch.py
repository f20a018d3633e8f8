"""From a request to a batch: prompts with what is asked for, or a plan file that says so itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import BadInput
from ..inputs import InputReader, InputSpec
from ..prompts import PromptSource, PromptSpec
from ..prompts.folders import COLUMN as PICTURE_COLUMN
from ..prompts.folders import is_pictures
from ..request import ImageOptions, RunRequest, options_of
from ..rewrite import RewriteSpec
from .file import PlanFile, open_plan
from .images import CATALOG, CatalogSource
from .revisions import RevisionBatch
from .spec import BatchSpec

AnyBatch = BatchSpec | PlanFile | RevisionBatch
"""What a run can be made of."""


def open_batch(
    prompts: str | Path | Sequence[str], request: RunRequest | None = None, reader: InputReader | None = None
) -> AnyBatch:
    """Make a batch of prompts and a request.

    Args:
        prompts: A file or an object in S3, with prompts or with a plan in it; a folder, pattern or prefix of pictures;
            images of the catalog (`catalog:verdict=approved`); or a list of prompts.
        request: What to make of them; None for the defaults. `{scheduled_date}` in its edition is filled in already.
        reader: Reads the pictures that go in.

    Raises:
        BadInput: An option out of range; or a plan file, together with an option that would change it.

    Example:
        >>> open_batch(["a {red|blue} fox"]).check()
        2
    """
    request = request or RunRequest()
    image, select, rewrite = request.image, request.select, request.rewrite
    plan = open_plan(prompts)
    if plan is not None:
        changed = [
            ".".join(option.path)
            for option in options_of(RunRequest)
            if option.decides_items and option.value(request) != option.default
        ]
        if changed:
            raise BadInput(f"{plan.name} is a plan and says itself what is bought; leave out {', '.join(changed)}")
        return replace(
            plan,
            fallback=image.fallback,
            lenient=image.lenient or plan.lenient,
            reader=reader or InputReader(),
        )
    source: str | Path | Sequence[str] | PromptSource = prompts
    if isinstance(prompts, str) and prompts.startswith(CATALOG):
        if reader is None or reader.ledger is None:
            raise BadInput(f"{prompts}: there is no ledger here to look into")
        source = CatalogSource(prompts, reader.ledger())
    return BatchSpec(
        PromptSpec(
            source,
            format=select.format,
            prompt_column=select.column,
            template=request.template,
            variants=select.variants,
            limit=select.limit,
            sample=select.sample,
            sample_seed=select.sample_seed,
            wildcards=select.wildcards,
            exclude=select.exclude,
            per_row=select.per_row,
            max_prompts=select.max_prompts,
            keep_going=select.skip_invalid,
        ),
        model=request.model,
        parameters=request.parameters,
        edition=request.edition,
        repeat=image.repeat,
        skip_invalid=select.skip_invalid,
        matrix=image.matrix,
        rewrite=RewriteSpec(rewrite.model, rewrite.variations, rewrite.brief, rewrite.price) if rewrite else None,
        fallback=image.fallback,
        lenient=image.lenient,
        inputs=_inputs(prompts, image, reader),
    )


def _inputs(prompts: str | Path | Sequence[str], image: ImageOptions, reader: InputReader | None) -> InputSpec | None:
    columns = tuple(image.image_columns)
    if not columns and (is_pictures(prompts) or str(prompts).startswith(CATALOG)):
        columns = (PICTURE_COLUMN,)
    if not (columns or image.mask_column is not None or image.images):
        return None
    base = ""
    if isinstance(prompts, str | Path):
        base = str(prompts).rpartition("/")[0] if str(prompts).startswith("s3://") else str(Path(prompts).parent)
    return InputSpec(
        columns,
        image.mask_column,
        tuple(image.images),
        base,
        image.strict_images,
        reader or InputReader(),
    )
