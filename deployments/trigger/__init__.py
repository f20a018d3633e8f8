"""From a file that arrives in S3 to a run in Prefect; `handler.py` is all that is deployed."""
