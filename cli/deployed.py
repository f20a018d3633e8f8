"""What `doctor` says of deployments: whether the next run of each would begin, and what to type where it would not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BadInput, ImagenError
from ..core.request import RunRequest
from .checks import Line, check_api, check_store, one_line

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

_PACKAGE = "prefect_imagen."
_BUYS = ("imagen_pipeline", "imagen_chain", "imagen_fanout", "imagen_regenerate", "imagen_review_chain")
_PAGE = 200


def deployment_lines(*, worker: bool) -> Iterator[Line]:
    """Look at every deployment of this package's flows.

    Args:
        worker: Whether a pool without a worker is a problem.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        found = [one for one in _deployments(client) if (one.entrypoint or "").startswith(_PACKAGE)]
        if not found:
            yield Line("deployed", "note", "no deployments: `prefect-imagen deploy init FOLDER` writes a file of them")
        look = _Look(client, worker=worker)
        for name in sorted({one.work_pool_name for one in found if one.work_pool_name is not None}):
            yield look.pool(name)
        for deployment in sorted(found, key=lambda one: one.name):
            problems = list(look.problems(deployment))
            if problems:
                yield from (Line("deployed", "problem", f"{deployment.name}: {text}") for text in problems)
            else:
                yield Line("deployed", "ok", f"{deployment.name}: {_starts(deployment)}")


def _deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    offset = 0
    while page := client.read_deployments(limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)


def _starts(deployment: DeploymentResponse) -> str:
    schedules = [one for one in deployment.schedules or () if one.active]
    if deployment.paused or not schedules:
        return "would begin; started by hand or by a trigger, no schedule is active"
    times = ", ".join(_times(one.schedule) for one in schedules)
    return f"would begin; on the schedule {times}"


def _times(schedule: Any) -> str:
    interval = getattr(schedule, "interval", None)
    return str(getattr(schedule, "cron", schedule)) if interval is None else f"every {interval}"


@dataclass
class _Look:
    """Looks at deployments; what several have in common is tried once."""

    client: SyncPrefectClient
    worker: bool
    tried: dict[str, str] = field(default_factory=dict)
    """What is wrong with a block, by slug; an empty text where nothing is."""
    types: dict[str, str] = field(default_factory=dict)
    """Of the work pools, by name."""

    def problems(self, deployment: DeploymentResponse) -> Iterator[str]:
        """What keeps the next run of a deployment from its work, with what to type."""
        broken = False
        for name, slug in _references(deployment.parameters):
            if problem := self._block(slug):
                broken = True
                yield f"{name}: {problem}"
        if deployment.work_pool_name is None and str(deployment.status).endswith("NOT_READY"):
            yield "it has no work pool, and no process serves it: deploy it again, to a pool"
        flow = (deployment.entrypoint or "").rpartition(".")[2]
        if flow in _BUYS and not broken:
            try:
                self._purchase(flow, deployment)
            except ImagenError as error:
                yield one_line(error)

    def _block(self, slug: str) -> str:
        if slug not in self.tried:
            try:
                self.tried[slug] = self._try(slug)
            except ImagenError as error:
                self.tried[slug] = f"the block {slug}: {one_line(error)}"
        return self.tried[slug]

    def _try(self, slug: str) -> str:
        from prefect.exceptions import ObjectNotFound

        from ..blocks import AimlApiCredentials, ImageApiCredentials, ImageCatalog
        from ..blocks.references import catalog_block, credentials_block, image_store_block

        kind, _, name = slug.partition("/")
        try:
            self.client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            return (
                f"there is no block {slug}: save it with `prefect-imagen blocks create`, or write a file for the "
                "blocks that there are with `prefect-imagen deploy init FOLDER`, and deploy that"
            )
        if kind in {block.get_block_type_slug() for block in (AimlApiCredentials, ImageApiCredentials)}:
            check_api(credentials_block(slug).get_client())
        elif kind == ImageCatalog.get_block_type_slug():
            catalog_block(slug).get_ledger()
        elif kind.endswith("image-store"):
            check_store(image_store_block(slug).get_store())
        return ""

    def pool(self, name: str) -> Line:
        """Look at a work pool: whether somebody takes up the runs that come to it."""
        pool = self.client.read_work_pool(name)
        self.types[name] = pool.type
        if pool.is_paused:
            return Line("pool", "problem", f"{name} is paused: `prefect work-pool resume {name}`")
        if pool.type.endswith((":push", ":managed")):
            return Line("pool", "ok", f"{name}, of type {pool.type}")
        alive = sum(str(one.status).endswith("ONLINE") for one in self.client.read_workers_for_work_pool(name))
        if not alive and self.worker:
            return Line("pool", "problem", f"no worker of {name} is alive: `prefect worker start --pool {name}`")
        return Line("pool", "ok", f"{name}, {alive} workers alive")

    def _purchase(self, flow: str, deployment: DeploymentResponse) -> None:
        """Read the request as the flow would, with its prompts, its model and its budget.

        Raises:
            ImagenError: What the run would fail with before it buys anything.
        """
        from ..blocks.references import catalog_block, credentials_block
        from ..core.providers import Endpoint
        from ..core.run.checks import check_request

        given: Mapping[str, Any] = deployment.parameters
        options = given.get("request", given)  # all of it in one parameter, or each option as one
        request = RunRequest.read({name: value for name, value in options.items() if name in RunRequest.model_fields})
        ledger = catalog_block(_slug(given.get("catalog"))).get_ledger()
        if request.budget_usd is None and not ledger.budgets.bound_everything():
            raise BadInput(
                "it has no budget, and would buy nothing: give it `budget_usd` in prefect.yaml and deploy again, or "
                "set one for all runs of the catalog, `prefect-imagen budget --day 20`"
            )
        prompts = given.get("prompts")
        if flow in ("imagen_chain", "imagen_regenerate") or (deployment.pull_steps and _relative(prompts)):
            return
        pool = self.types.get(deployment.work_pool_name or "", "")
        if pool not in ("", "process") and isinstance(prompts, str) and "://" not in prompts:
            raise BadInput(f"{prompts} is a file of this machine, and the pool is of type {pool}: put the file into S3")
        client = credentials_block(_slug(given.get("credentials")), request.model).get_client(request.model)
        # Where prompts are given at each start, all else can be looked at.
        check_request(prompts or ["a picture"], request.scheduled(datetime.now(UTC)), Endpoint.of(client))
        origin = client.origin()
        if bound := ledger.mismatch(origin, client.provider.name):
            raise BadInput(f"its catalog is the account of {bound}, its key is for {origin}: use another of the two")


def _references(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping) and (slug := _slug(value)) is not None:
            yield name, slug


def _slug(value: Any) -> str | None:
    """The slug of a block that is given by reference; of anything else, the text that it is."""
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        found = reference.get("block_document_slug") if isinstance(reference, Mapping) else None
        return str(found) if found else None
    return value if isinstance(value, str) else None


def _relative(prompts: Any) -> bool:
    return isinstance(prompts, str) and "://" not in prompts and not Path(prompts).is_absolute()
