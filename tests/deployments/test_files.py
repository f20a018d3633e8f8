"""The files of `deployments/`: what can be said of them without the clouds they are for."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import prefect.settings
import pytest
import yaml
from prefect.events import Event
from prefect_imagen.core.prompts import PromptSpec, TemplateError

from .conftest import DEPLOYMENTS, KEY, ROOT


def _yaml(name: str) -> Any:
    """A YAML file; CloudFormation's `!Ref X` is read as the text `Ref X`."""

    class Loader(yaml.SafeLoader):
        pass

    def tagged(loader: Loader, suffix: str, node: yaml.Node) -> str:
        return f"{suffix} {loader.construct_scalar(node)}"  # type: ignore[arg-type]

    Loader.add_multi_constructor("!", tagged)  # type: ignore[no-untyped-call]
    return yaml.load((DEPLOYMENTS / name).read_text(encoding="utf-8"), Loader)


def test_entrypoints_are_flows_and_blocks_are_references() -> None:
    document = _yaml("prefect.yaml")
    names = [deployment["name"] for deployment in document["deployments"]]
    assert names == [
        *("nightly", "on-demand", "on-event", "repair", "provenance"),
        *("review-chain", "review", "review-resume", "imagen-shard", "fanout"),
    ]
    # Elsewhere than in this process, whose import path is the tests' own.
    points = sorted({deployment["entrypoint"] for deployment in document["deployments"]})
    script = "import pkgutil, sys\nfor name in sys.argv[1:]: print(type(pkgutil.resolve_name(name)).__name__)"
    done = subprocess.run([sys.executable, "-c", script, *points], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Flow"] * len(points)
    for deployment in document["deployments"]:
        for name in ("credentials", "store", "catalog"):
            if name in deployment.get("parameters", {}):
                assert set(deployment["parameters"][name]) == {"$ref"}
    triggered = next(deployment for deployment in document["deployments"] if deployment.get("triggers"))
    assert "budget_usd" in triggered["parameters"]
    assert "budget_usd" not in triggered["triggers"][0]["parameters"]


def test_deployed_as_it_stands_nothing_starts_by_itself() -> None:
    deployments = _yaml("prefect.yaml")["deployments"]
    assert [one["active"] for row in deployments for one in row.get("schedules", ())] == [False] * 4
    assert [one["enabled"] for row in deployments for one in row.get("triggers", ())] == [False]


def test_the_function_may_do_three_things() -> None:
    """Least privilege: no wildcard, neither of actions nor of resources, and no right to the objects."""
    template = _yaml("aws/template.yaml")
    role = template["Resources"]["TriggerRole"]["Properties"]
    assert "ManagedPolicyArns" not in role
    (policy,) = role["Policies"]
    granted = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert "*" not in "".join([*actions, statement["Resource"]])
        granted[statement["Resource"]] = actions
    assert granted == {
        "GetAtt TriggerLog.Arn": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Ref PrefectSecretArn": ["secretsmanager:GetSecretValue"],
        "GetAtt Failed.Arn": ["sqs:SendMessage"],
    }


def test_the_function_is_the_file_that_is_tested() -> None:
    function = _yaml("aws/template.yaml")["Resources"]["Trigger"]["Properties"]
    folder = (DEPLOYMENTS / "aws" / function["CodeUri"]).resolve()
    module, name = function["Handler"].split(".")
    tree = ast.parse((folder / f"{module}.py").read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    variables = set(function["Environment"]["Variables"])
    assert variables <= set(re.findall(r"PREFECT_[A-Z_]+", (folder / f"{module}.py").read_text(encoding="utf-8")))


def test_the_worker_may_do_what_preflight_asks_for() -> None:
    policy = json.loads((DEPLOYMENTS / "aws" / "worker-policy.json").read_text(encoding="utf-8"))
    granted = {statement["Resource"]: statement["Action"] for statement in policy["Statement"]}
    assert granted == {
        "arn:aws:s3:::my-images/out/*": ["s3:PutObject", "s3:GetObject"],
        "arn:aws:s3:::my-images/prompts/*": "s3:GetObject",
        "arn:aws:s3:::my-images": "s3:ListBucket",
    }


@pytest.mark.parametrize(
    "body",
    [
        {"id": "42", "prompts": ['a "quoted" fox'], "aspect_ratio": "16:9", "edition": "e", "tags": {"a": "b"}},
        {"id": "43", "prompts": "s3://my-images/prompts/spring.csv"},
        {
            "id": 'x", "prefect.resource.role":"flow-run"}, "event":"prefect.flow-run.Completed", "resource":{"z":"',
            "prompts": "s3://x/y.csv",
        },
        {"id": 44, "prompts": ["\\", '"'], "edition": '"}, "event": "x'},
    ],
)
def test_the_webhooks_template_makes_the_event(body: dict[str, Any]) -> None:
    text = (DEPLOYMENTS / "webhook" / "prefect-cloud.json.j2").read_text(encoding="utf-8")
    event = Event.model_validate_json(jinja2.Template(text).render(body=body, headers={}, method="POST"))
    assert event.event == "prefect-imagen.requested"
    assert event.resource.id == f"prefect-imagen.request.{body['id']}"
    assert event.payload["prompts"] == body["prompts"]
    assert event.payload["edition"] == body.get("edition", "")
    assert set(event.resource.root) == {"prefect.resource.id", "prefect.resource.name"}
    assert event.resource.name == str(body["id"])


def test_the_image_is_pinned_and_not_root() -> None:
    text = (DEPLOYMENTS / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    assert re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE) == ["python:3.12.11-slim-bookworm"]
    assert "--constraint constraints.txt" in text
    stage = text.rpartition("FROM ")[2]
    assert re.search(r"^USER 10001$", stage, re.MULTILINE)
    assert "HEALTHCHECK" in stage
    # Everything the build needs passes .dockerignore, and nothing else does.
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = {path.name for path in ROOT.iterdir() if (path / "py.typed").exists()}
    assert kept == packages | {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "setup.py", "constraints.txt"}


def test_compose_publishes_to_this_machine_alone_and_watches_everything() -> None:
    document = _yaml("compose.yaml")
    for name, service in document["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert name == "worker" or "healthcheck" in service, name  # the worker's is the image's
        assert ":" in service["image"]
        login = service.get("environment", {}).get("PREFECT_API_AUTH_STRING", "")
        assert bool(login) == (name in ("server", "setup", "worker"))
        for needed in service.get("depends_on", {}):
            assert needed in document["services"]


def test_composes_server_asks_for_a_login_and_has_one_origin() -> None:
    given = _yaml("compose.yaml")["services"]["server"]["environment"]
    assert given["PREFECT_SERVER_API_AUTH_STRING"] == given["PREFECT_API_AUTH_STRING"]
    # It has no default: without one, compose starts nothing and says what is missing.
    assert re.fullmatch(
        r"\$\{IMAGEN_LOGIN:\?[^${}]+IMAGEN_LOGIN=user:password[^${}]+\}", given["PREFECT_API_AUTH_STRING"]
    )
    assert given["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] == given["PREFECT_UI_API_URL"].removesuffix("/api")
    for name in (
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS",
        "PREFECT_API_AUTH_STRING",
    ):
        assert hasattr(prefect.settings, name)


def test_the_workflow_gives_the_key_to_one_step_and_pins_what_it_uses(tmp_path: Path) -> None:
    job = _yaml("github/imagen.yml")["jobs"]["run"]
    assert "env" not in job
    *before, last = job["steps"]
    assert [step for step in before if "secrets." in json.dumps(step)] == []
    assert "secrets." in json.dumps(last["env"])
    for step in before:
        assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
    # What leads out of the folder is not uploaded.
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "real.csv").write_text("prompt\n")
    (tmp_path / "prompts" / "link.csv").symlink_to("/etc/passwd")
    for tool in ("aws", "prefect"):
        path = tmp_path / "bin" / tool
        path.parent.mkdir(exist_ok=True)
        path.write_text('#!/bin/sh\necho "$0 $@" >> called\n')
        path.chmod(0o755)
    for wanted, code in (
        ("prompts/real.csv", 0),
        ("prompts/link.csv", 1),
        ("prompts/../../x.csv", 1),
        ("/etc/passwd", 1),
    ):
        environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "BUCKET": "b", "WANTED": wanted}
        done = subprocess.run(
            ["bash", "-e", "-c", last["run"]], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert done.returncode == code, done.stderr
    assert (tmp_path / "called").read_text().count("aws s3 cp prompts/real.csv s3://b/prompts/real.csv") == 1
    assert len((tmp_path / "called").read_text().splitlines()) == 2


def test_the_workflow_only_uses_what_the_command_line_has() -> None:
    document = _yaml("github/imagen.yml")
    script = document["jobs"]["run"]["steps"][-1]["run"]
    # What comes from outside reaches the script as a variable, never as part of its text.
    assert "${{" not in script
    (command,) = re.findall(r"prefect deployment run \S+ --param .* --watch", script)
    assert "imagen_pipeline/on-demand" in command
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_holds_a_key() -> None:
    for path in DEPLOYMENTS.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert KEY not in text
            assert not re.search(r"\b(sk-[A-Za-z0-9]{16,}|pnu_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})\b", text), path


def test_an_installed_package_says_where_the_files_are(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect_imagen.deployments"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert (Path(done.stdout.strip()) / "prefect.yaml").exists()


def test_what_prefect_deploy_does_to_a_template() -> None:
    """`prefect deploy` fills in placeholders of its own; docs/prompts.md says which spelling it leaves alone."""
    from prefect.utilities.templating import apply_values

    kept = "{{ (animal) }}, {{ animal|trim }}, {{ row['animal'] }} on a {wooden|marble} table"
    found = apply_values({"template": kept, "emptied": "{{ animal }} on a {wooden|marble} table"}, {})
    assert found == {"template": kept, "emptied": " on a {wooden|marble} table"}
    with pytest.raises(TemplateError, match="names no column"):
        PromptSpec(["a fox"], template=found["emptied"]).count()
