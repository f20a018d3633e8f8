"""What Prefect keeps of runs whose items were erased."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from .artifacts import KEYS

_AT_ONCE = 100


def delete_artifacts(flow_run_ids: Iterable[str]) -> int:
    """Delete the artifacts of runs: reports, tables and contact sheets show prompts and pictures.

    Args:
        flow_run_ids: Of runs of `imagen_pipeline` and its like; other artifacts than ours are left alone.

    Returns:
        Artifacts that were deleted.
    """
    ids = [UUID(flow_run_id) for flow_run_id in flow_run_ids]
    deleted = 0
    with get_client(sync_client=True) as client:
        for start in range(0, len(ids), _AT_ONCE):
            ours = ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=ids[start : start + _AT_ONCE]),
                key=ArtifactFilterKey(any_=list(KEYS)),
            )
            while found := client.read_artifacts(artifact_filter=ours, limit=200):
                for artifact in found:
                    client.delete_artifact(artifact.id)
                deleted += len(found)
    return deleted
