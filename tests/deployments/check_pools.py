"""What can be said of Docker, Kubernetes and ECS without any of them: `make lint-deployments` runs this.

The workers' own code fills the templates in, as it does for a run; the result is held to Kubernetes' schema and to
the API model of botocore.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import botocore.session
import kubernetes_validate
import yaml
from botocore.validate import ParamValidator
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker
from prefect_aws.workers.ecs_worker import ECSJobConfiguration
from prefect_docker.worker import DockerWorker, DockerWorkerJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

NOBODY: Any = object()
"""In place of a client: there are no blocks or variables in the templates to ask a server for."""
POOLS = Path(__file__).parents[2] / "deployments" / "pools"


def job_variables(name: str) -> dict[str, Any]:
    variables: dict[str, Any] = yaml.safe_load((POOLS / name).read_text())["job_variables"]
    return variables


def template(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((POOLS / name).read_text())
    return document


def without_empty(value: Any) -> Any:
    """As the workers do before they send: fields that were not given are left out."""
    if isinstance(value, dict):
        return {name: without_empty(item) for name, item in value.items() if item not in (None, {}, [])}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


async def check() -> None:
    process = await ProcessJobConfiguration.from_template_and_values(
        ProcessWorker.get_default_base_job_template(), job_variables("process.yaml"), client=NOBODY
    )
    assert process.env["PREFECT_IMAGEN_HOME"] == "/var/lib/prefect-imagen"

    docker = await DockerWorkerJobConfiguration.from_template_and_values(
        DockerWorker.get_default_base_job_template(), job_variables("docker.yaml"), client=NOBODY
    )
    assert (docker.volumes, docker.mem_limit) == (["prefect-imagen:/data"], "1g")

    cluster = await KubernetesWorkerJobConfiguration.from_template_and_values(
        template("kubernetes.json"),
        {"command": "prefect flow-run execute", "env": {"A": "b"}, "name": "nightly"},
        client=NOBODY,
    )
    # `prepare_for_flow_run` ends in this, for the part that does not need a flow run.
    cluster._populate_image_if_not_present()
    cluster._populate_command_if_not_present()
    cluster._populate_env_in_manifest()
    manifest = without_empty(cluster.job_manifest)
    kubernetes_validate.validate(manifest, "1.31", strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert manifest["spec"]["backoffLimit"] == 0
    assert pod["terminationGracePeriodSeconds"] == 240
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "prefect-imagen"

    ecs = await ECSJobConfiguration.from_template_and_values(
        template("ecs.json"),
        {
            "command": "prefect flow-run execute",
            "cluster": "imagen",
            "vpc_id": "vpc-1",
            "execution_role_arn": "arn:aws:iam::1:role/execution",
            "task_role_arn": "arn:aws:iam::1:role/worker",
            "spool_file_system_id": "fs-1",
            "spool_access_point_id": "fsap-1",
        },
        client=NOBODY,
    )
    shapes = botocore.session.get_session().get_service_model("ecs")
    definition = without_empty(ecs.task_definition)
    definition |= {"family": "imagen", "cpu": str(definition["cpu"]), "memory": str(definition["memory"])}
    for operation, parameters in (("RegisterTaskDefinition", definition),):
        report = ParamValidator().validate(parameters, shapes.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()
    container = definition["containerDefinitions"][0]
    assert (container["stopTimeout"], container["mountPoints"][0]["containerPath"]) == (120, "/data")


if __name__ == "__main__":
    asyncio.run(check())
    print("the work pools' templates are valid")
