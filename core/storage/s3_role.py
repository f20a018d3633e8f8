"""Credentials of a role: assumed with what is there, and assumed again before they expire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)

from ..store_options import S3Options

_STS = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


def as_role(session: boto3.session.Session, options: S3Options) -> boto3.session.Session:
    """A session whose clients work as the role of the options, if there is one; it is assumed by the first request.

    The role is assumed for an hour at a time. botocore renews it a quarter of an hour before it ends, so a run may take
    as long as it takes.
    """

    role_arn = options.role_arn
    if role_arn is None:
        return session

    def client(service: str, **more: Any) -> Any:
        return session.client(service, config=_STS, **more)  # type: ignore[call-overload]

    extra = {"RoleSessionName": options.role_session_name}
    if options.external_id:
        extra["ExternalId"] = options.external_id
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=client,
        source_credentials=session.get_credentials(),
        role_arn=role_arn,
        extra_args=extra,
    )
    inner = botocore.session.Session()
    inner.register_component("credential_provider", CredentialResolver([_Role(fetcher.fetch_credentials)]))
    return boto3.session.Session(botocore_session=inner, region_name=session.region_name)


class _Role(CredentialProvider):
    """The one source of credentials of a session: refreshed as botocore refreshes all that expire."""

    METHOD = "assume-role"
    CANONICAL_NAME = "assume-role"

    def __init__(self, fetch: Callable[[], Any]) -> None:
        super().__init__()
        self._fetch = fetch

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(refresh_using=self._fetch, method=self.METHOD)
