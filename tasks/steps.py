"""The steps of a run as tasks of Prefect. Only `rewrite_prompts` and `generate_images` spend money."""

from __future__ import annotations

from logging import INFO, WARNING
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from ..core.ledger import ImageState
from ..core.request import RunRequest
from ..core.run.results import Batch, Cataloged, Downloaded, Generated, PlannedRun, Rewritten, Uploaded
from .runtime import (
    Catalog,
    Credentials,
    RunConfig,
    StepUnavailable,
    Store,
    attached,
    batch_of,
    bind_alone,
    raise_if_unavailable,
    unavailable_only,
)

_RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [10, 60],
    "retry_condition_fn": unavailable_only,
}


@task(name="rewrite_prompts", task_run_name="rewrite_prompts", cache_policy=NO_CACHE, **_RETRIES)
def rewrite_prompts(
    run: PlannedRun | Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Rewritten:
    """Have a language model write the texts that images wait for. Texts that were bought before are not bought again.

    Does nothing where `expand_prompts` was not told to `rewrite`.

    Args:
        run: A run, or a batch of its items.
        credentials: Block or its name; None takes the key from `AIMLAPI_API_KEY`.
        store: Where images will go: while it fails, nothing is bought.
        catalog: The ledger; None for this user's own.
        request: As for `generate_images`.

    Returns:
        The items, for `generate_images`, and the state of their texts.

    Raises:
        StepUnavailable: The API or the ledger is down; retried, which buys only what is not bought.
        BadInput: A bad key, no such block, a language model whose price is not known.
    """
    config = RunConfig(credentials, store, catalog, request or RunRequest())
    with attached(run.run_id, config) as (work, alone):
        bind_alone(work, alone=alone)
        rewritten = work.rewrite(batch_of(work, run))
        raise_if_unavailable(work, alone=alone)
    return rewritten


@task(name="generate_images", task_run_name="generate_images", cache_policy=NO_CACHE, **_RETRIES)
def generate_images(
    run: PlannedRun | Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Generated:
    """Buy what is not owned. Items bought before, by any run, are not bought again.

    Args:
        run: A run, for everything there is to do in it, or a batch of its items.
        credentials: Block or its name; None takes the key from `AIMLAPI_API_KEY`.
        store: Where images will go: while it fails, nothing is bought. Also finds owned images that are not there yet.
        catalog: The ledger; None for this user's own.
        request: Calls in flight, rate, what to do with items that are unknown.

    Returns:
        The items that have images to be delivered now. This process leases them until `catalog_images`.

    Raises:
        StepUnavailable: The API or the ledger is down; retried, which buys only what is not bought.
        BadInput: A bad key, no such block; prompts that `rewrite_prompts` should have seen first.
    """
    config = RunConfig(credentials, store, catalog, request or RunRequest())
    with attached(run.run_id, config) as (work, alone):
        bind_alone(work, alone=alone)
        generated = work.generate(batch_of(work, run), texts_required=alone)
        raise_if_unavailable(work, alone=alone)
    return generated


@task(name="download_images", task_run_name="download_images", cache_policy=NO_CACHE)
def download_images(
    batch: Batch,
    credentials: Credentials = None,
    *,
    store: Store = None,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Downloaded:
    """Fetch images into the spool and decode each of them whole. A URL that serves no image twice is quarantined.

    Args:
        batch: From `generate_images`, or any items of a run.
        credentials: Not needed: the ledger knows where the images were bought. The key is never sent to a download.
        store: Where images go: owned images that are not there are fetched from where they are.
        catalog: The ledger; None for this user's own.
        request: Spool folder, threads.

    Returns:
        One entry an image. A failed download is an entry, not an exception.

    Raises:
        SpoolUnavailable: The disk is full or read-only.
    """
    config = RunConfig(credentials, store, catalog, request or RunRequest(), buys=False)
    with attached(batch.run_id, config) as (run, _):
        return run.download(batch)


@task(name="upload_images", task_run_name="upload_images", cache_policy=NO_CACHE, **_RETRIES)
def upload_images(
    downloaded: Downloaded,
    store: Store,
    *,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Uploaded:
    """Put files into the store, create-only, with checksum and content type; the provider's bytes are kept as they are.

    Args:
        downloaded: From `download_images`.
        store: Block, slug or address.
        catalog: The ledger; None for this user's own.
        request: Key template, patience, threads.

    Returns:
        One entry an image. An image that could not be stored is an entry, not an exception.

    Raises:
        StepUnavailable: Nothing at all could be stored, since the store is down.
        BadInput: The store cannot be used.
    """
    config = RunConfig(None, store, catalog, request or RunRequest(), buys=False)
    with attached(downloaded.run_id, config) as (run, alone):
        uploaded = run.upload(downloaded)
    results = uploaded.results
    if alone and results and all(result.state is ImageState.PENDING for result in results):
        raise StepUnavailable(results[0].reason or "nothing could be stored")
    return uploaded


@task(name="catalog_images", task_run_name="catalog_images", cache_policy=NO_CACHE)
def catalog_images(
    uploaded: Uploaded,
    *,
    catalog: Catalog = None,
    request: RunRequest | None = None,
) -> Cataloged:
    """Record the outcome of each image and item in one transaction, then clear the spool and release the items.

    In a flow of one's own this also ends the run, unless others of its items are still being worked on, and logs what
    was delivered, what is missing and what was billed.

    Args:
        uploaded: From `upload_images`.
        catalog: The ledger; None for this user's own.
        request: Spool folder.

    Returns:
        The batch's items by state.

    Raises:
        LedgerUnavailable: Nothing was recorded; a later run finds the objects and records them.
    """
    config = RunConfig(None, None, catalog, request or RunRequest(), buys=False)
    with attached(uploaded.run_id, config) as (run, alone):
        cataloged = run.record(uploaded)
        report = run.finish_steps() if alone else None
    if report is not None:
        get_run_logger().log(INFO if report.complete else WARNING, report.summary())
    return cataloged
