"""A real S3 server for the tests that read from one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect_imagen.core.storage import S3Options
from prefect_imagen.sandbox.local_s3 import LocalS3


@pytest.fixture(scope="session")
def prompts_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """A SeaweedFS with the bucket `prompts`."""
    with LocalS3(tmp_path_factory.mktemp("prompts-s3")) as server:
        server.create_bucket("prompts")
        yield server


@pytest.fixture
def s3_options(prompts_s3: LocalS3) -> S3Options:
    return S3Options(**prompts_s3.options)
