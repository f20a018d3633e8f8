"""What Prefect keeps of runs whose items were erased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectNotFound

from .artifacts import OURS

_AT_ONCE = 100
_PAGE = 200
_OLDER_KEYS = frozenset({"imagen-report", "imagen-items", "imagen-contact-sheet"})
_ERASED = "(erased)"


def delete_traces(flow_run_ids: Iterable[str]) -> int:
    """Delete the artifacts of runs (reports, tables and contact sheets show prompts and pictures), blank parameters.

    Args:
        flow_run_ids: Of runs of `imagen_pipeline` and its like; other artifacts than ours are left alone.

    Returns:
        Artifacts that were deleted.
    """
    ids = [UUID(flow_run_id) for flow_run_id in flow_run_ids]
    with get_client(sync_client=True) as client:
        for flow_run_id in ids:
            _blank(client, flow_run_id)
        return sum(_delete(client, ids[start : start + _AT_ONCE]) for start in range(0, len(ids), _AT_ONCE))


def _delete(client: SyncPrefectClient, flow_run_ids: list[UUID]) -> int:
    of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=flow_run_ids))
    deleted = skipped = 0
    while found := client.read_artifacts(
        artifact_filter=of_runs, sort=ArtifactSort.ID_DESC, limit=_PAGE, offset=skipped
    ):
        ours = [one for one in found if one.key in _OLDER_KEYS or (one.description or "").startswith(OURS)]
        for artifact in ours:
            client.delete_artifact(artifact.id)
        deleted += len(ours)
        skipped += len(found) - len(ours)
    return deleted


def _blank(client: SyncPrefectClient, flow_run_id: UUID) -> None:
    """Replace prompts and templates among a run's parameters, as far as the run is still known."""
    try:
        parameters = client.read_flow_run(flow_run_id).parameters
    except ObjectNotFound:
        return
    blanked = _without_texts(parameters)
    if blanked != parameters:
        client.update_flow_run(flow_run_id, parameters=blanked)


def _without_texts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(parameters)
    if isinstance(kept.get("prompts"), list):
        kept["prompts"] = [_ERASED]
    for name in ("template", "rewrite"):
        if kept.get(name):
            kept[name] = _ERASED
    if isinstance(kept.get("request"), dict):
        kept["request"] = _without_texts(kept["request"])
    return kept
