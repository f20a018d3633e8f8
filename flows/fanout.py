"""One run over many machines: the plan is made once, and its rows are bought in shards by runs of a deployment.

Every shard works on the same run of the same ledger, so there is one budget, one account and one report, and whoever
asks for an item twice gets it once. A shard that dies is started again; what it had bought is bought, what it had sent
is unknown until somebody decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from ..blocks.references import catalog_block
from ..core.errors import BadInput, Unavailable
from ..core.ledger import ItemState, RowProgress
from ..core.limits import StopReason
from ..core.request import RunRequest
from ..core.run.chunks import MAX_CHUNKS
from ..core.run.run import Run
from ..tasks.expand import expand_prompts
from ..tasks.runtime import shared_run
from .parameters import Catalog, Credentials, Prompts, Store, document_parameters
from .pipeline import TaskRuns, announce_model, connect, final_state, opened
from .publish import publish, tag_flow_run

Request = Annotated[
    RunRequest,
    Field(description="The options of imagen_pipeline, in the same groups; concurrency is that of each shard."),
]


@flow(
    name="imagen_shard",
    flow_run_name="rows {first} to {last}",
    task_runner=ThreadPoolTaskRunner(max_workers=MAX_CHUNKS),  # type: ignore[arg-type]
    validate_parameters=True,
)
@document_parameters
def imagen_shard(
    run_id: Annotated[str, Field(description="A run in the ledger, planned by `imagen_fanout`.")],
    first: Annotated[int, Field(ge=0, description="First row.")],
    last: Annotated[int, Field(ge=0, description="Last row.")],
    store: Annotated[str, Field(description="Slug of a saved store, or an address.")],
    credentials: Annotated[str | None, Field(description="Slug of saved credentials. None: the environment.")] = None,
    catalog: Annotated[
        str | None, Field(description="Slug of a saved catalog: a PostgreSQL all workers reach.")
    ] = None,
    request: Request = RunRequest(),
) -> State[Any]:
    """Buy and deliver what some rows of a run ask for. Started by `imagen_fanout`; may be started again at any time.

    Returns:
        `Completed` with the rows' items by state, or `Failed` named `Incomplete` where something is left to do.

    Raises:
        BadInput: A block that is not there.
    """
    rows = range(first, last + 1)
    # What other shards hold is none of this one's business; the parent sees to what is left over.
    own = request.with_("policy", wait_for_others=0.0)
    refs = (credentials, store, catalog)
    try:
        row = catalog_block(catalog).get_ledger().runs.get(run_id)
    except KeyError:
        raise BadInput(f"there is no run {run_id} in this catalog; imagen_fanout plans it") from None
    tagged = own.model_copy(update={"tags": dict(row["tags"])})
    run = Run.open(connect(tagged, refs, str(row["model"])), run_id, get_run_logger())
    with shared_run(run_id, lambda: run):
        failures = run.buy(TaskRuns(refs, own), len(rows), rows)
        progress = run.ledger.runs.row_progress(run_id, rows)
    counts = {state.value: count for state, count in progress.items.items()}
    message = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if progress.settled == sum(counts.values()):
        return Completed(message=message, data=counts)
    why = "; ".join(failures) or run.services.halt.message
    return Failed(name=run.outcome, message=f"{message}; {why}" if why else message)


@flow(name="imagen_fanout", validate_parameters=True)
@document_parameters
def imagen_fanout(
    prompts: Prompts,
    store: Store,
    credentials: Credentials = None,
    catalog: Catalog = None,
    request: Request = RunRequest(),
    shards: Annotated[int, Field(ge=1, le=1000, description="Runs of the deployment.")] = 4,
    deployment: Annotated[
        str, Field(description="Deployment of imagen_shard, on the work pool that is to do the work.")
    ] = "imagen_shard/imagen-shard",
    attempts: Annotated[int, Field(ge=1, le=20, description="Starts of a shard that dies or leaves work.")] = 3,
    silence: Annotated[
        float, Field(ge=5, description="Seconds that a running shard may hold no item before it counts as dead.")
    ] = 120.0,
    wait: Annotated[bool, Field(description="Wait for the shards and report; or only start them.")] = True,
) -> State[Any]:
    """Plan a run here, have it bought and delivered by runs of a deployment, and report on all of it.

    The prompts are read once, here, so no worker needs the file. The blocks are saved ones, and the catalog is on a
    PostgreSQL that all workers reach. `concurrency` is each shard's; `requests_per_minute` and `shared_concurrency`
    hold for all together.

    Returns:
        As `imagen_pipeline`; without `wait`, `Completed` once the shards are started.

    Raises:
        BadInput: As `imagen_pipeline`; also an unsaved block, which cannot travel, or a deployment that is not there.
    """
    with opened(prompts, request, store, credentials, catalog, check=_must_travel) as (run, refs):
        planned = expand_prompts(prompts, run.request, store=refs[1], catalog=refs[2], run_id=run.id)
        announce_model(run)
        tag_flow_run(run.request.tags)
        run.ask_log()
        common = {
            "run_id": run.id,
            "store": refs[1],
            "credentials": refs[0],
            "catalog": refs[2],
            "request": run.request.model_dump(mode="json"),
        }
        work = _Shards(run, deployment, common, planned.rows, shards, attempts=attempts, silence=silence)
        work.start()
        if not wait:
            return Completed(message=f"{planned.items} items in {len(work)} shards, started")
        report = run.finish(work.wait())
        publish(report, run, source=prompts if isinstance(prompts, str) else None)
    return final_state(report, request.policy.on_incomplete)


def _must_travel(refs: Sequence[str | None]) -> None:
    for reference in refs:
        if reference is not None and reference.startswith("unsaved:"):
            raise BadInput("an unsaved block cannot travel to the workers: save it (`prefect-imagen blocks create`)")


@dataclass(slots=True)
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
        run: Run,
        deployment: str,
        common: Mapping[str, Any],
        rows: int,
        shards: int,
        *,
        attempts: int,
        silence: float,
    ) -> None:
        self._run = run
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
                self._run.ledger.release_dead_workers()
                found = _flow_runs([shard.flow_run_id for shard in open_ if shard.flow_run_id is not None])
                for shard in open_:
                    if shard.flow_run_id is not None:
                        self._look(shard, found.get(shard.flow_run_id))
            except Unavailable as error:
                self._logger.warning("cannot look after the shards now: %s", error)
        return list(dict.fromkeys(self._failures))

    def _look(self, shard: _Shard, run: FlowRun | None) -> None:
        state = run.state if run is not None else None
        if state is not None and (state.is_scheduled() or state.is_pending()):
            shard.seen = time.monotonic()  # no worker has taken it up yet
            return
        if state is not None and state.is_completed():
            shard.done = True
        elif state is not None and (state.is_cancelled() or state.name in _NO_USE):
            # Nothing that another start of it would change.
            self._end(shard, f"ended as {state.name}: {state.message}")
            if state.name == "BudgetReached":
                self._run.services.halt.set(StopReason.BUDGET, state.message or "")
        elif state is None or state.is_final():
            self._again(shard, f"ended as {state.name}: {state.message}" if state else "is gone")
        elif time.monotonic() - shard.seen < self._silence / 4:
            return  # the database reads all rows of the shard to answer
        elif self._progress(shard).held:
            shard.seen = time.monotonic()
        elif time.monotonic() - shard.seen > self._silence:
            # Its process is dead, and nobody has told the server. If it lives after all, the two share the work.
            _declare_crashed(run)
            self._again(shard, f"was not heard of for {self._silence:g} s")

    def _progress(self, shard: _Shard) -> RowProgress:
        return self._run.ledger.runs.row_progress(self._common["run_id"], shard.rows)

    def _again(self, shard: _Shard, why: str) -> None:
        items = self._progress(shard).items
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
