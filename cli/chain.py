"""`prefect-imagen chain`: make pictures, and others of these; planned and priced as a whole, then bought."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import BadInput
from ..core.request import RunRequest
from . import options
from .consent import Yes, consent_to
from .console import print_json, stderr, stdout, table
from .exit_codes import INCOMPLETE, OK
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from ..core.providers import ImageClient
    from ..core.request import ChainStep
    from ..core.run.chain import Chain, ChainPlan
    from ..core.run.report import RunReport

_COMMON = {"edition", "edition_timezone", "budget_usd", "tags", "select", "limits", "policy", "delivery"}
"""Options that all steps have in common; the others stand in the file of steps."""
_MOST_BYTES = 2**20


@with_flags
def chain(
    context: typer.Context,
    steps: Annotated[
        Path, typer.Argument(metavar="STEPS", help="File of steps: YAML or JSON, a list with a model each.")
    ],
    prompts: options.Prompts,
    to: options.Destination,
    store: options.Store,
    given: Annotated[Given, FlagsOf(RunRequest, only=_COMMON)],
    catalog: options.Catalog = None,
    base_url: options.BaseUrl = None,
    models: options.Models = None,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Show what it would buy and what it costs; buy nothing.")
    ] = False,
    yes: Yes = False,
    json: options.Json = False,
    verbose: options.Traceback = False,
) -> int:
    """Make pictures, and others of these: generate, cut out, enlarge.

      prefect-imagen chain steps.yaml prompts.csv --to ./chained --budget-usd 5

    STEPS is a list with a model for each step, in YAML. What one step makes goes into the next; PROMPTS are those of
    the first. A step may have a template, an aspect_ratio, and options of the model:

      [{model: google/imagen4/preview}, {model: klingai/image-o1, template: "{{ prompt }}, cut out"},
      {model: topaz-labs/sharpen, image: {parameters: {mode: Standard}}}]

    All steps are checked and priced before the first one buys, and the budget is for all of them together; --plan shows
    it and buys nothing. Each step is a run of its own: the same command again buys only what is missing. A picture that
    a step does not deliver costs nothing further. In Prefect, the flow imagen_chain does the same.

    Exit code: 0 all delivered, 1 something is missing (the reports say what), 2 bad input.
    """
    del models, verbose
    from ..core.ledger import open_ledger
    from ..core.providers import Endpoint
    from ..core.run.chain import Chain
    from ..core.storage import open_store
    from .catalogs import catalog_url
    from .logs import show_notices
    from .typed import read_prompts, read_request, read_store

    show_notices(verbose=False)

    def connect(model: str) -> ImageClient:
        return Endpoint.find(base_url=base_url, model=model).open()

    request = read_request(given)
    ledger = open_ledger(catalog_url(catalog))
    made = Chain(
        read_prompts(prompts, given.values.get("format")),
        request,
        read_steps(steps),
        connect=connect,
        ledger=ledger,
        store=open_store(to, **(read_store(store) if to.startswith("s3://") else {})),
    )
    plan = made.plan
    if not json:
        _print_plan(plan)
    if only_plan:
        if json:
            print_json({"plan": plan.as_dict()})
        return OK
    consent_to(plan.images, plan.price, plan.price_high, ledger, request.budget_usd, yes=yes)
    return _buy(made, context.obj or tuple(sys.argv[1:]), as_json=json)


def read_steps(path: Path) -> list[ChainStep]:
    """Read a file of steps.

    Raises:
        BadInput: It cannot be read, or a step is none.
    """
    import yaml
    from pydantic import ValidationError

    from ..core.files import check_stays_inside
    from ..core.request import ChainStep, explain

    check_stays_inside(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise BadInput(f"{path}: more than {_MOST_BYTES:,} bytes")
        given = yaml.safe_load(data.decode("utf-8-sig"))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"{path} is no YAML or JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise BadInput(f"{path}: a list of steps is needed, with a model each: `- model: google/imagen4/preview`")
    steps = []
    for number, one in enumerate(given, start=1):
        try:
            steps.append(ChainStep.model_validate(one))
        except ValidationError as error:
            raise BadInput(f"{path}: step {number}: {explain(error)}") from None
    return steps


def _print_plan(plan: ChainPlan) -> None:
    from ..core.money import format_usd

    shown = table("step", "model", "items", "images", "price", "at most", right=("items", "images", "price", "at most"))
    for number, step in enumerate(plan.steps, start=1):
        counts = f"{step.items:,}", f"{step.images:,}"
        shown.add_row(str(number), step.model, *counts, format_usd(step.price), format_usd(step.price_high))
    shown.add_section()
    shown.add_row("", "", "", f"{plan.images:,}", format_usd(plan.price), format_usd(plan.price_high))
    stderr().print(shown)


def _buy(chain: Chain, typed: tuple[str, ...], *, as_json: bool) -> int:
    from ..core.providers import Endpoint
    from ..core.run.chain import BudgetUsedUp
    from .job import Job, Ready
    from .run_here import run_here
    from .summary import print_summary

    reports: list[RunReport] = []
    code = OK
    try:
        while (prepared := chain.next_step(reports)) is not None and prepared.checked is not None:
            job = Job(
                prompts="",
                request=prepared.request,
                to=prepared.store.destination,
                endpoint=Endpoint.of(prepared.client),
                catalog="",
            )
            ended = Ready(job, prepared, prepared.checked).run(run_here, live=stderr().is_terminal)
            code = max(code, ended.exit_code)
            if ended.report is None:
                break
            reports.append(ended.report)
            if not as_json:
                stdout().print(f"Step {len(reports)} of {len(chain)}")
                print_summary(stdout(), ended.report, typed)
            if ended.exit_code > INCOMPLETE:
                break
    except BudgetUsedUp as error:
        stderr().print(f"{error}.")
        code = max(code, INCOMPLETE)
    if as_json:
        document: dict[str, Any] = {
            "plan": chain.plan.as_dict(),
            "runs": [report.as_dict() for report in reports],
        }
        print_json(document)
    return code
