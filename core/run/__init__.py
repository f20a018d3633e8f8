"""The home of a run: one order of steps, without Prefect."""
