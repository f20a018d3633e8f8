"""`prefect-imagen regenerate`: have images made anew, and buy what is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from ..core.request import RunRequest
from . import options
from .consent import Yes, require_consent
from .console import print_json, stderr, stdout
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..core.ledger import Ledger
    from ..core.review.regenerate import Regeneration
    from ..core.run.report import RunReport

_ANEW = "What is to change"


@with_flags
def regenerate(
    context: typer.Context,
    store: options.Store,
    chosen: options.Chosen,
    given: Annotated[Given, FlagsOf(RunRequest, only={"budget_usd", "limits", "policy", "delivery"})],
    reviewer: options.Reviewer,
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="IMAGE", help="Ids of images that are to be made anew; else criteria name them."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", metavar="TEXT|@FILE", help="Another prompt.", rich_help_panel=_ANEW),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another value of a parameter, such as aspect_ratio=16:9. May be repeated.",
            rich_help_panel=_ANEW,
        ),
    ] = None,
    to: options.OptionalDestination = None,
    ask_only: Annotated[bool, typer.Option("--ask-only", help="Record what is wanted; buy nothing.")] = False,
    catalog: options.Catalog = None,
    base_url: options.BaseUrl = None,
    models: options.Models = None,
    yes: Yes = False,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Buy new images in place of others.

      prefect-imagen regenerate --verdict rejected --budget-usd 5

    The new image has another seed, or what --prompt and --set say. The same order is bought once, even if several
    people place it. Without images and criteria the command buys what was ordered on the review page;
    `prefect-imagen plan --regenerations` shows what that would cost. New images are stored beside the old ones.

    Exit code: 0 all delivered, 1 something is missing (the report says what), 2 bad input.
    """
    del models, verbose
    from ..core.ledger import open_ledger
    from ..core.review.choice import image_filter
    from .catalogs import catalog_url, existing_ledger
    from .typed import read_choice, read_request

    request = read_request(given)
    with existing_ledger(catalog):
        pass  # otherwise it would be made
    ledger = open_ledger(catalog_url(catalog))
    choice = read_choice(chosen)
    if images and chosen.values:
        raise BadInput("name images, or say by criteria which are meant; not both")
    wanted = list(images or ())
    if chosen.values:
        wanted = [row["image_id"] for row in ledger.review.all(image_filter(ledger, choice), columns=())]
        if not wanted:
            raise BadInput("no image matches these criteria")
    if not wanted and (prompt is not None or set_):
        raise BadInput("--prompt and --set need images: name them, or say by criteria which are meant")
    asked = _ask(ledger, wanted, reviewer, prompt, set_)
    if ask_only:
        return _say_asked(asked, as_json=json)
    if not ledger.revisions.open(retry_refused=request.policy.retry_refused):
        if json:
            print_json({"runs": []})
        else:
            stdout().print("Nothing is to be made anew.")
        return OK
    return _buy(context, ledger, request, to, base_url, store, yes=yes, as_json=json)


def _ask(ledger: Ledger, images: Sequence[str], reviewer: str, prompt: str | None, pairs: list[str] | None) -> int:
    from ..core.review.regenerate import ask
    from .typed import read_pairs, read_text

    if prompt is not None and pairs:
        raise BadInput("--prompt or --set, not both: first one, then the other for the new image")
    text = read_text(prompt, "--prompt") if prompt is not None else None
    fields = read_pairs(pairs, "--set")
    return len(ask(ledger, [_wanted(ledger, image, reviewer, text, fields) for image in images])) if images else 0


def _wanted(ledger: Ledger, image: str, reviewer: str, prompt: str | None, fields: dict[str, str]) -> Regeneration:
    from ..core.ledger import RegenerationKind
    from ..core.plan import read_parameters
    from ..core.providers import load_registry
    from ..core.review.regenerate import Regeneration

    if prompt is not None:
        return Regeneration(image, reviewer, RegenerationKind.PROMPT, prompt=prompt)
    if not fields:
        return Regeneration(image, reviewer)
    rows = ledger.review.rows([image], columns=("model", "contract"))
    if not rows:
        raise BadInput(f"there is no image {image} in the catalog; column image_id of an export has them")
    model = load_registry().resolve(f"{rows[0]['model']}@{rows[0]['contract']}")
    return Regeneration(image, reviewer, RegenerationKind.PARAMETERS, parameters=read_parameters(model, fields))


def _say_asked(asked: int, *, as_json: bool) -> int:
    if as_json:
        print_json({"asked": asked})
    else:
        stdout().print(f"{asked:,} images are to be made anew; `prefect-imagen regenerate` buys them.")
    return OK


def _buy(
    context: typer.Context,
    ledger: Ledger,
    request: RunRequest,
    to: str | None,
    base_url: str | None,
    store: Given,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    from ..core.providers import Endpoint, ImageClient
    from ..core.review.regenerate import prepare_batches
    from ..core.run.checks import with_budget_left
    from ..core.storage import ObjectStore, open_place
    from .job import Job, Ready
    from .logs import show_notices
    from .run_here import run_here
    from .summary import print_summary
    from .typed import read_store

    show_notices(verbose=False)
    options_ = read_store(store)

    def store_of(destination: str | None) -> ObjectStore:
        place = to or destination
        if place is None:
            raise BadInput("the images that are to be replaced lie nowhere; say with --to where the new ones go")
        return open_place(place, options_)

    def connect(model: str) -> ImageClient:
        return Endpoint.find(base_url=base_url, model=model).open()

    ready = prepare_batches(ledger, request, connect=connect, store_of=store_of)
    require_consent(ready, request.budget_usd, yes=yes)
    reports: list[RunReport] = []
    spent, code = 0, OK
    for whole in ready:
        prepared = with_budget_left(whole, spent)
        if prepared is None or prepared.checked is None:
            stderr().print("The budget is used up; the rest is left for another time.")
            code = INCOMPLETE
            break
        job = Job(
            prompts="", request=prepared.request, to=prepared.store.destination, catalog="",
            endpoint=Endpoint.of(prepared.client),
        )  # fmt: skip
        ended = Ready(job, prepared, prepared.checked).run(run_here, live=stderr().is_terminal)
        code = max(code, ended.exit_code)
        if ended.report is not None:
            reports.append(ended.report)
            spent += ended.report.account.billed_at_most
            if not as_json:
                print_summary(stdout(), ended.report, context.obj or tuple(sys.argv[1:]))
    if as_json:
        document: dict[str, Any] = {"runs": [report.as_dict() for report in reports]}
        print_json(document)
    return code
