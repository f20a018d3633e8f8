"""Whether a Prefect API is configured: as Prefect itself sees it, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from prefect.settings.models.root import Settings
from prefect_imagen.cli import prefect_server

URL = "http://127.0.0.1:4200/api"
PROFILES = f'active = "{{active}}"\n[profiles.none]\n[profiles.there]\nPREFECT_API_URL = "{URL}"\n'


@pytest.mark.parametrize(
    ("files", "variables", "configured"),
    [
        ({}, {}, False),
        ({}, {"PREFECT_API_URL": URL}, True),
        ({}, {"prefect_api_url": URL}, True),
        ({"home/profiles.toml": PROFILES.format(active="there")}, {}, True),
        ({"home/profiles.toml": PROFILES.format(active="none")}, {}, False),
        ({"home/profiles.toml": PROFILES.format(active="none")}, {"PREFECT_PROFILE": "there"}, True),
        ({"mine.toml": PROFILES.format(active="there")}, {"PREFECT_PROFILES_PATH": "mine.toml"}, True),
        ({".env": f"PREFECT_API_URL={URL}\n"}, {}, True),
        ({"prefect.toml": f'[api]\nurl = "{URL}"\n'}, {}, True),
        ({"pyproject.toml": f'[tool.prefect.api]\nurl = "{URL}"\n'}, {}, True),
        ({"pyproject.toml": '[project]\nname = "x"\ndependencies = ["prefect", "prefect-imagen"]\n'}, {}, False),
    ],
)
def test_what_is_configured_is_found(
    files: Mapping[str, str],
    variables: Mapping[str, str],
    configured: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (Settings().api.url is not None) is configured
    assert prefect_server._is_configured() is configured
