"""A real S3 server for the tests that read from one."""

from __future__ import annotations

import pytest
from prefect_imagen.core.storage import S3Options
from prefect_imagen.sandbox.local_s3 import LocalS3


@pytest.fixture(scope="session")
def prompts_s3(s3_server: LocalS3) -> LocalS3:
    """A SeaweedFS with the bucket `prompts`."""
    s3_server.create_bucket("prompts")
    return s3_server


@pytest.fixture
def s3_options(prompts_s3: LocalS3) -> S3Options:
    return S3Options(**prompts_s3.options)
