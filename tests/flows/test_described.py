"""The forms of Prefect's UI: every parameter of every flow says what it is for."""

from __future__ import annotations

from typing import Any

import prefect_imagen.flows as flows
import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

FLOWS = [getattr(flows, name) for name in flows.__all__ if isinstance(getattr(flows, name), Flow)]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: str(flow.name))
def test_every_parameter_is_described(flow: Flow[Any, Any]) -> None:
    properties = parameter_schema(flow).properties
    assert properties
    for name, schema in properties.items():
        assert (schema.get("description") or "").endswith("."), name
