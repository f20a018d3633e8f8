"""Addresses that lead from the catalog to Prefect's UI."""

from __future__ import annotations

import prefect.runtime
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

__all__ = ["flow_run_url"]


def flow_run_url() -> str | None:
    """The current flow run's page; None outside of a flow run, or where the UI's address is not known.

    It is `PREFECT_UI_URL`, or what Prefect makes of `PREFECT_API_URL`; where the settings say that the server has no
    UI, there is no page.
    """
    if not get_current_settings().server.ui.enabled:
        return None
    flow_run_id = prefect.runtime.flow_run.id
    return url_for("flow-run", obj_id=str(flow_run_id)) if flow_run_id else None
