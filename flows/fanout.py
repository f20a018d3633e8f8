"""One run over many machines: the plan is made once, and its rows are bought in shards by runs of a deployment.

Every shard works on the same run of the same ledger, so there is one budget, one account and one report, and whoever
asks for an item twice gets it once. A shard that dies is started again; what it had bought is bought, what it had sent
is unknown until somebody decides.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import prefect.runtime
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field, TypeAdapter

from ..blocks import AimlApiCredentials, ImageCatalog, LocalImageStore, S3ImageStore
from ..blocks.references import credentials_block, references
from ..core.errors import BadInput, Unavailable
from ..core.ledger import ItemState, UnknownPolicy
from ..core.limits import StopReason
from ..core.money import usd_to_credits
from ..core.plan import open_batch
from ..core.run.checks import check_batch, with_terms
from ..core.run.services import RunContext, RunSettings
from ..tasks.attached import Work, shared_context
from ..tasks.expand import expand_prompts
from .chunks import MAX_CHUNKS, run_chunks
from .described import described
from .ending import leave_traces, tag_flow_run
from .options import batch_options, run_settings
from .pipeline import ask_about_unknown, count_run, imagen_pipeline, make_ready, outcome_of, state_of
from .succession import name_successor, tell_of_models

__all__ = ["imagen_fanout", "imagen_shard"]

_SETTINGS: TypeAdapter[RunSettings] = TypeAdapter(RunSettings)
_NOT_HERE = ("prompts", "store", "credentials", "catalog", "on_incomplete")


@flow(
    name="imagen_shard",
    flow_run_name="rows {first} to {last}",
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@described
def imagen_shard(
    run_id: Annotated[str, Field(description="A run in the ledger, planned by `imagen_fanout`.")],
    first: Annotated[int, Field(ge=0, description="First row.")],
    last: Annotated[int, Field(ge=0, description="Last row.")],
    store: Annotated[str, Field(description="Slug of a saved store, or an address.")],
    credentials: Annotated[str | None, Field(description="Slug of saved credentials. None: the environment.")] = None,
    catalog: Annotated[
        str | None, Field(description="Slug of a saved catalog: a PostgreSQL all workers reach.")
    ] = None,
    settings: Annotated[RunSettings | None, Field(description="How to go about it.")] = None,
    chunk_size: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=1000)], Field(description="Items a chunk of task runs.")
    ] = "auto",
    adopt_ledger: Annotated[bool, Field(description="Take over a destination of another ledger.")] = False,
) -> State[Any]:
    """Buy and deliver what some rows of a run ask for. Started by `imagen_fanout`; may be started again at any time.

    Returns:
        `Completed` with the rows' items by state, or `Failed` named `Incomplete` where something is left to do.

    Raises:
        BadInput: A block that is not there.
    """
    rows = range(first, last + 1)
    # What other shards hold is none of this one's business; the parent sees to what is left over.
    own = dataclasses.replace(settings or RunSettings(), wait_for_others=0.0)
    with shared_context(run_id, Work(credentials, store, catalog, own)) as context:
        try:
            tags = dict(context.ledger.runs.get(run_id)["tags"])
        except KeyError:
            raise BadInput(f"there is no run {run_id} in this catalog; imagen_fanout plans it") from None
        make_ready(context, adopt=adopt_ledger, tags=tags)
        failures = run_chunks(context, chunk_size, len(rows), credentials, store, catalog, rows=rows)
        progress = context.ledger.runs.row_progress(run_id, rows)
    counts = {state.value: count for state, count in progress.items.items()}
    message = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if progress.settled == sum(counts.values()):
        return Completed(message=message, data=counts)
    why = "; ".join(failures) or context.halt.message
    name = "Incomplete" if context.halt.reason is None else outcome_of(context.halt)
    return Failed(name=name, message=f"{message}; {why}" if why else message)


@flow(name="imagen_fanout", validate_parameters=True)
@described
def imagen_fanout(
    prompts: Annotated[
        str | list[str], Field(description="As for imagen_pipeline; read once, here, so no worker needs the file.")
    ],
    store: Annotated[
        S3ImageStore | LocalImageStore | str, Field(description="A saved store, or `s3://bucket/prefix`.")
    ],
    credentials: Annotated[
        AimlApiCredentials | None, Field(description="Saved credentials. None: AIMLAPI_API_KEY of every worker.")
    ] = None,
    catalog: Annotated[
        ImageCatalog | str | None, Field(description="A saved catalog on a PostgreSQL that all workers reach.")
    ] = None,
    options: Annotated[
        dict[str, Any] | None,
        Field(description='Further parameters of imagen_pipeline by name: {"model": "imagen-4-fast", "limit": 100}.'),
    ] = None,
    shards: Annotated[int, Field(ge=1, le=1000, description="Runs of the deployment.")] = 4,
    deployment: Annotated[
        str, Field(description="Deployment of imagen_shard, on the work pool that is to do the work.")
    ] = "imagen_shard/imagen-shard",
    attempts: Annotated[int, Field(ge=1, le=20, description="Starts of a shard that dies or leaves work.")] = 3,
    silence: Annotated[
        float, Field(ge=5, description="Seconds that a running shard may hold no item before it counts as dead.")
    ] = 120.0,
    wait: Annotated[bool, Field(description="Wait for the shards and report; or only start them.")] = True,
    on_incomplete: Annotated[
        Literal["fail", "warn"], Field(description="End as Failed or as Completed when items are not delivered.")
    ] = "fail",
) -> State[Any]:
    """Plan a run here, have it bought and delivered by runs of a deployment, and report on all of it.

    `concurrency` in the options is each shard's; `requests_per_minute` and `shared_concurrency` hold for all together.

    Returns:
        As `imagen_pipeline`; without `wait`, `Completed` once the shards are started.

    Raises:
        BadInput: As `imagen_pipeline`; also an unsaved block, which cannot travel, or a deployment that is not there.
    """
    given = _parameters(prompts, options or {})
    settings, batch = run_settings(given), batch_options(given)
    base_url = credentials_block(credentials).base_url
    spec = with_terms(open_batch(prompts, **batch), base_url, offline=not given["ask_catalogue"])
    if spec.rewrite is not None:
        settings = dataclasses.replace(settings, rewrite_price=spec.rewrite.price)
    budget = given["budget_usd"]
    check_batch(spec, budget=usd_to_credits(budget) if budget is not None else None)
    run_id = str(prefect.runtime.flow_run.id)
    with references(credentials, store, catalog) as refs:
        _must_travel(refs)
        credentials_ref, store_ref, catalog_ref = refs
        with shared_context(run_id, Work(credentials_ref, store_ref, catalog_ref, settings)) as context:
            make_ready(context, adopt=given["adopt_ledger"], tags=given["tags"] or {})
            planned = expand_prompts(
                prompts,
                **batch,
                budget_usd=budget,
                tags=given["tags"],
                store=store_ref,
                catalog=catalog_ref,
                run_id=run_id,
                adopt_ledger=given["adopt_ledger"],
                terms=spec.terms,
            )
            tell_of_models(spec, run_id)
            tag_flow_run(given["tags"] or {})
            ask_about_unknown(context)
            common = {
                "run_id": run_id,
                "store": store_ref,
                "credentials": credentials_ref,
                "catalog": catalog_ref,
                "settings": _SETTINGS.dump_python(settings, mode="json"),
                "chunk_size": given["chunk_size"],
                "adopt_ledger": given["adopt_ledger"],
            }
            work = _Shards(context, deployment, common, planned.rows, shards, attempts=attempts, silence=silence)
            work.start()
            if not wait:
                return Completed(message=f"{planned.items} items in {len(work)} shards, started")
            failures = work.wait()
            if settings.unknown is UnknownPolicy.FAIL:
                context.ledger.items.fail_unknown(run_id)
            report = name_successor(count_run(context, failures, ended=True), context, spec)
            context.ledger.runs.finish(run_id, report.outcome)
            leave_traces(report, context, source=prompts if isinstance(prompts, str) else None)
    return state_of(report, on_incomplete)


def _parameters(prompts: str | list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of `imagen_pipeline` by name, checked and with their defaults."""
    known = imagen_pipeline.parameters.properties
    wrong = [name for name in options if name not in known or name in _NOT_HERE]
    if wrong:
        raise BadInput(f"options: {', '.join(wrong)} cannot be given here")
    given = {name: field.get("default") for name, field in known.items()}
    given |= imagen_pipeline.validate_parameters({"prompts": prompts, "store": "unused", **options})
    return given


def _must_travel(refs: list[str | None]) -> None:
    for reference in refs:
        if reference is not None and reference.startswith("unsaved:"):
            raise BadInput("an unsaved block cannot travel to the workers: save it (`prefect-imagen blocks create`)")


@dataclasses.dataclass(slots=True)
class _Shard:
    number: int
    rows: range
    attempt: int = 0
    flow_run_id: UUID | None = None
    done: bool = False
    seen: float = 0.0


class _Shards:
    """The shards of one run: started, watched, and started again where one died."""

    def __init__(
        self,
        context: RunContext,
        deployment: str,
        common: Mapping[str, Any],
        rows: int,
        shards: int,
        *,
        attempts: int,
        silence: float,
    ) -> None:
        self._context = context
        self._deployment = deployment
        self._common = common
        self._attempts = attempts
        self._silence = silence
        size = max(1, math.ceil(rows / shards))
        self._shards = [_Shard(n, range(at, min(at + size, rows))) for n, at in enumerate(range(0, rows, size))]
        self._failures: list[str] = []
        self._logger = get_run_logger()

    def __len__(self) -> int:
        return len(self._shards)

    def start(self) -> None:
        """Start all of them. A run that is itself started again finds those it had started."""
        for shard in self._shards:
            self._start(shard)

    def _start(self, shard: _Shard) -> None:
        shard.attempt += 1
        parent = self._common["run_id"]
        try:
            flow_run = run_deployment(
                self._deployment,
                parameters={**self._common, "first": shard.rows.start, "last": shard.rows.stop - 1},
                idempotency_key=f"{parent}/{shard.number}/{shard.attempt}",
                timeout=0,
            )
        except ObjectNotFound:
            raise BadInput(
                f"there is no deployment {self._deployment!r}: deploy imagen_shard to a work pool first"
            ) from None
        shard.flow_run_id = cast(FlowRun, flow_run).id
        shard.seen = time.monotonic()

    def wait(self, pause: float = 2.0) -> list[str]:
        """Wait until every shard is done or has had its attempts.

        Returns:
            What went wrong, each thing once.
        """
        while open_ := [shard for shard in self._shards if not shard.done]:
            time.sleep(pause)
            try:
                self._context.ledger.release_dead_workers()
                runs = _flow_runs([shard.flow_run_id for shard in open_ if shard.flow_run_id is not None])
                for shard in open_:
                    if shard.flow_run_id is not None:
                        self._look(shard, runs.get(shard.flow_run_id))
            except Unavailable as error:
                self._logger.warning("cannot look after the shards now: %s", error)
        return list(dict.fromkeys(self._failures))

    def _look(self, shard: _Shard, run: FlowRun | None) -> None:
        state = run.state if run is not None else None
        if state is not None and (state.is_scheduled() or state.is_pending()):
            shard.seen = time.monotonic()  # no worker has taken it up yet
            return
        progress = self._context.ledger.runs.row_progress(self._common["run_id"], shard.rows)
        if state is not None and state.is_completed():
            shard.done = True
        elif state is not None and (state.is_cancelled() or state.name in _NO_USE):
            # Nothing that another start of it would change.
            self._end(shard, f"ended as {state.name}: {state.message}")
            if state.name == "BudgetReached":
                self._context.halt.set(StopReason.BUDGET, state.message or "")
        elif state is None or state.is_final():
            self._again(shard, progress.items, f"ended as {state.name}: {state.message}" if state else "is gone")
        elif progress.held:
            shard.seen = time.monotonic()
        elif time.monotonic() - shard.seen > self._silence:
            # Its process is dead, and nobody has told the server. If it lives after all, the two share the work.
            _declare_crashed(run)
            self._again(shard, progress.items, f"was not heard of for {self._silence:g} s")

    def _again(self, shard: _Shard, items: Mapping[ItemState, int], why: str) -> None:
        if not any(items.get(state) for state in _OPEN):
            shard.done = True  # it died after its work, or what is left waits for a decision
        elif shard.attempt >= self._attempts:
            self._end(shard, f"{why}; it had its {self._attempts} attempts")
        else:
            self._logger.warning("shard %d %s: starting it again", shard.number, why)
            self._start(shard)

    def _end(self, shard: _Shard, why: str) -> None:
        shard.done = True
        self._failures.append(f"rows {shard.rows.start} to {shard.rows.stop - 1}: the shard {why}")


_NO_USE = frozenset({"BudgetReached", "Blocked"})
_OPEN = (ItemState.PLANNED, ItemState.CLAIMED, ItemState.SENT, ItemState.GENERATED, ItemState.FAILED)


def _flow_runs(ids: list[UUID]) -> dict[UUID, FlowRun]:
    found: dict[UUID, FlowRun] = {}
    with get_client(sync_client=True) as client:
        for start in range(0, len(ids), 200):
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=ids[start : start + 200]))
            found.update((run.id, run) for run in client.read_flow_runs(flow_run_filter=chosen, limit=200))
    return found


def _declare_crashed(run: FlowRun | None) -> None:
    if run is not None:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(message="its process was not heard of any more"), force=True)
