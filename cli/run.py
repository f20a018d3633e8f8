"""`prefect-imagen run`: buy, verify, deliver and catalog an image for every prompt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.request import RunRequest
from . import options
from .consent import Yes, require_consent
from .console import print_json, stderr, stdout
from .flags import FlagsOf, Given, with_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.run.report import RunReport
    from .job import Ready
    from .progress import Progress


@with_flags
def run(
    context: typer.Context,
    prompts: options.Prompts,
    to: options.Destination,
    store: options.Store,
    given: Annotated[Given, FlagsOf(RunRequest)],
    catalog: options.Catalog = None,
    api: options.Api = None,
    base_url: options.BaseUrl = None,
    models: options.Models = None,
    yes: Yes = False,
    prefect: Annotated[
        bool,
        typer.Option(
            "--prefect", help="Where no Prefect API is configured, start a temporary server.", rich_help_panel="Output"
        ),
    ] = False,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> int:
    """Buy, verify and store an image for every prompt.

      prefect-imagen run prompts.csv --to s3://bucket/spring --budget-usd 25

    The same command again buys only what is missing. The API key is read from AIMLAPI_API_KEY (OPENAI_API_KEY,
    GEMINI_API_KEY, FAL_KEY), S3 credentials from where AWS tools look. If PREFECT_API_URL is set, the run is a flow
    run.

    Exit code: 0 all delivered, 1 something is missing (the report says what), 2 bad input.
    """
    del models
    from .catalogs import catalog_url
    from .job import Job
    from .summary import print_summary
    from .typed import endpoint_of, read_prompts, read_request, read_store

    endpoint = endpoint_of(given, api, base_url)
    source = read_prompts(prompts, given.values.get("format"))
    job = Job(
        prompts=source,
        request=read_request(given, source, endpoint),
        to=to,
        endpoint=endpoint,
        catalog=catalog_url(catalog),
        store_options=read_store(store),
    )
    ready = job.check()
    require_consent([ready.prepared], ready.job.request.budget_usd, yes=yes)
    ended = ready.run(_engine(prefect=prefect, verbose=verbose), live=stderr().is_terminal and not verbose)
    if ended.report is None:
        stderr().print("Nothing was sent.")
    elif json:
        print_json(ended.report.as_dict())
    else:
        print_summary(stdout(), ended.report, context.obj or tuple(sys.argv[1:]))
    return ended.exit_code


def _engine(*, prefect: bool, verbose: bool) -> Callable[[Ready, Progress], RunReport]:
    """What carries the run out: Prefect where it is configured or wanted, else this process alone."""
    from .logs import set_up_prefect, show_notices
    from .prefect_server import configured_api

    set_up_prefect(verbose=verbose)
    if prefect or configured_api() is not None:
        from .run_in_prefect import run_in_prefect

        return run_in_prefect
    from .run_here import run_here

    stderr().print(
        "no Prefect API is configured: running without Prefect; --prefect starts a temporary server", soft_wrap=True
    )
    show_notices(verbose=verbose)
    return run_here
