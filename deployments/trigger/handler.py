"""An AWS Lambda function: a file of prompts arrives in S3, a run of a deployment is created in Prefect.

This file is the whole function and needs the standard library only (Python 3.11 or newer). It never reads the object:
the run does. It takes S3's own notifications and those that S3 sends through EventBridge.

S3 delivers an event at least once, and Lambda tries again after an error. So each version of an object has one
idempotency key, and Prefect answers with the run that is there instead of making a second one.

Settings, from the environment:

* `PREFECT_API_URL`: `https://prefect.example.com/api`, or for Prefect Cloud
  `https://api.prefect.cloud/api/accounts/ACCOUNT/workspaces/WORKSPACE`.
* `PREFECT_DEPLOYMENT`: `FLOW/DEPLOYMENT`; by default `imagen_pipeline/on-demand`.
* `PREFECT_API_KEY_SECRET`: name or ARN of the Secrets Manager secret with the API key of Prefect Cloud, or with the
  `user:password` of a server of one's own. It is read through AWS's "Parameters and Secrets" Lambda extension.
* `PREFECT_API_KEY` or `PREFECT_API_AUTH_STRING`: the same in clear, where there is no Secrets Manager.

Also a command, for whatever can run Python: `python handler.py s3://bucket/key.csv VERSION`.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import logging
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".parquet")
"""Objects with another ending are not files of prompts, and are left alone."""

_PATIENCE = 100.0
"""Seconds for which Prefect's API is asked again: a server on SQLite that is busy answers 503 after a minute."""
_RESERVE = 5.0
"""Seconds of Lambda's time that are left for the log and the answer."""
_TIMEOUT = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_SECRETS_EXTENSION = "http://localhost:2773/secretsmanager/get"

log = logging.getLogger("prefect-imagen.trigger")
log.setLevel(logging.INFO)


class TriggerFailed(Exception):
    """A run could not be created; Lambda tries the event again, and then hands it to the dead-letter queue."""


@dataclass(frozen=True)
class PromptsObject:
    """One version of one object.

    Attributes:
        bucket: Its bucket.
        key: Its key, decoded.
        version: Version id; where the bucket keeps no versions, what else tells two writes apart.
    """

    bucket: str
    key: str
    version: str

    @property
    def uri(self) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"

    def idempotency_key(self, deployment: str) -> str:
        """One for each version and deployment; Prefect keeps such keys by flow, not by deployment."""
        parts = json.dumps([deployment, self.bucket, self.key, self.version])
        return f"prefect-imagen-{hashlib.sha256(parts.encode()).hexdigest()}"


def handler(event: Mapping[str, Any], context: Any = None) -> dict[str, Any]:
    """Create a run for each file of prompts in an event. What Lambda calls.

    Args:
        event: From S3, or from S3 through EventBridge.
        context: Lambda's; it says how much time is left.

    Returns:
        `{"runs": [{"prompts", "flow_run_id", "created"}]}`; `created` is False for a run that was there already.

    Raises:
        TriggerFailed: At least one run could not be created; the others were, and are found again at the next try.
    """
    deadline = time.monotonic() + _patience(context)
    runs: list[dict[str, Any]] = []
    failed: list[str] = []
    for found in read_event(event):
        try:
            runs.append(create_run(found, deadline))
        except TriggerFailed as error:
            log.error("%s: %s", found.uri, error)  # noqa: TRY400 - the message says it all
            failed.append(f"{found.uri}: {error}")
    if failed:
        raise TriggerFailed("; ".join(failed))
    return {"runs": runs}


def _patience(context: Any) -> float:
    """The seconds that Prefect's API has, within the time that Lambda leaves."""
    if context is None:
        return _PATIENCE
    return min(_PATIENCE, float(context.get_remaining_time_in_millis()) / 1000 - _RESERVE)


def read_event(event: Mapping[str, Any]) -> Iterator[PromptsObject]:
    """The files of prompts that an event says were created.

    Args:
        event: "Event message structure" (Amazon S3 user guide), or its EventBridge form.
    """
    for found in _created(event):
        if found.key.lower().endswith(SUFFIXES):
            yield found
        else:
            log.info("%s is not a file of prompts (%s): left alone", found.uri, ", ".join(SUFFIXES))


def _created(event: Mapping[str, Any]) -> Iterator[PromptsObject]:
    if event.get("source") == "aws.s3":
        if event.get("detail-type") == "Object Created":
            detail = event["detail"]
            # EventBridge sends keys as they are.
            yield _object(detail["bucket"]["name"], detail["object"]["key"], detail["object"], "version-id")
        return
    for record in event.get("Records", ()):
        if record.get("eventSource") == "aws:s3" and record.get("eventName", "").startswith("ObjectCreated:"):
            s3 = record["s3"]
            key = urllib.parse.unquote_plus(s3["object"]["key"])
            yield _object(s3["bucket"]["name"], key, s3["object"], "versionId")


def _object(bucket: str, key: str, facts: Mapping[str, Any], version: str) -> PromptsObject:
    """Without versions, the sequencer differs from write to write, and is the same when an event comes twice."""
    told = facts.get(version)
    known = told if told and told != "null" else f"{facts.get('eTag') or facts.get('etag')}/{facts.get('sequencer')}"
    return PromptsObject(bucket, key, known)


def create_run(found: PromptsObject, deadline: float | None = None) -> dict[str, Any]:
    """Create the run for a file of prompts, unless it is there.

    Args:
        found: The file.
        deadline: Until when to ask an API that is away, by `time.monotonic()`.

    Raises:
        TriggerFailed: Prefect refuses, or does not answer; the message says which setting to look at.
    """
    if deadline is None:
        deadline = time.monotonic() + _PATIENCE
    deployment = os.environ.get("PREFECT_DEPLOYMENT") or "imagen_pipeline/on-demand"
    flow, _, name = deployment.partition("/")
    path = f"/deployments/name/{urllib.parse.quote(flow, safe='')}/{urllib.parse.quote(name, safe='')}"
    _, there = _call("GET", path, None, deadline, hint=f"is {deployment!r} deployed?")
    body = {"parameters": {"prompts": found.uri}, "idempotency_key": found.idempotency_key(deployment)}
    path = f"/deployments/{there['id']}/create_flow_run"
    status, run = _call("POST", path, body, deadline, hint="see the deployment")
    created = status == http.HTTPStatus.CREATED
    log.info("%s: run %s %s", found.uri, run["id"], "created" if created else "was there already")
    return {"prompts": found.uri, "flow_run_id": run["id"], "created": created}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirect)


def _call(method: str, path: str, body: object, deadline: float, *, hint: str) -> tuple[int, Any]:
    """Ask Prefect's API, and again until the deadline while it is away; safe, because runs have idempotency keys."""
    url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise TriggerFailed("PREFECT_API_URL is not set to http://… or https://…")
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json", **_authorization()},
        method=method,
    )
    pause = _FIRST_PAUSE
    while True:
        wanted = 0.0
        try:
            left = max(deadline - time.monotonic(), 1.0)
            with _opener.open(request, timeout=min(_TIMEOUT, left)) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                    _refused(error, hint)
                wanted = _retry_after(error)
                problem = f"Prefect's API answers {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = f"Prefect's API does not answer as it should ({type(error).__name__})"
        sleep = max(pause, wanted)
        if time.monotonic() + sleep > deadline:
            raise TriggerFailed(problem)
        log.warning("%s: asking again in %.1f s", problem, sleep)
        time.sleep(sleep)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _retry_after(error: urllib.error.HTTPError) -> float:
    """The seconds that a refusal asks to wait; 0 where it names none, or a date."""
    wanted = error.headers.get("Retry-After", "")
    return float(wanted) if wanted.isdecimal() else 0.0


def _refused(error: urllib.error.HTTPError, hint: str) -> NoReturn:
    if error.code in (401, 403):
        raise TriggerFailed(f"Prefect's API refuses the login ({error.code}): check the key") from None
    detail = error.read(2000).decode(errors="replace")
    raise TriggerFailed(f"Prefect's API answers {error.code}: {detail} ({hint})") from None


def _authorization() -> dict[str, str]:
    """The header for the key; none where there is no key."""
    secret = os.environ.get("PREFECT_API_KEY_SECRET")
    key = _read_secret(secret) if secret else os.environ.get("PREFECT_API_KEY")
    login = os.environ.get("PREFECT_API_AUTH_STRING")
    if key and ":" in key:  # `user:password`: a server of one's own, whose login is kept in the same place
        key, login = None, key
    if key:
        return {"Authorization": f"Bearer {key}"}
    if login:
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    return {}


def _read_secret(name: str) -> str:
    """A secret's text, through the extension: "Using Secrets Manager secrets in Lambda functions" (AWS docs)."""
    request = urllib.request.Request(  # noqa: S310 - a constant address
        f"{_SECRETS_EXTENSION}?{urllib.parse.urlencode({'secretId': name})}",
        headers={"X-Aws-Parameters-Secrets-Token": os.environ.get("AWS_SESSION_TOKEN", "")},
    )
    try:
        with _opener.open(request, timeout=_TIMEOUT) as response:
            return str(json.load(response)["SecretString"]).strip()
    except (OSError, ValueError, KeyError) as error:
        raise TriggerFailed(
            f"the secret in PREFECT_API_KEY_SECRET cannot be read ({type(error).__name__}): check the layer of the "
            "Parameters and Secrets extension, and secretsmanager:GetSecretValue"
        ) from None


def main(arguments: list[str]) -> int:
    """Create the run for one object: `s3://bucket/key`, and a text that tells its versions apart."""
    uri, version = arguments if len(arguments) == 2 else ("", "")
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not key:
        print("usage: handler.py s3://bucket/key VERSION", file=sys.stderr)
        return 2
    try:
        print(json.dumps(create_run(PromptsObject(bucket, key, version))))
    except TriggerFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
