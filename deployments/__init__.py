"""What it takes to run prefect-imagen without a person beside it.

* `prefect.yaml`: deployments for a work pool (nightly, on demand, on an event, repair, fan-out).
* `automations.py`: what Prefect does by itself when a run is incomplete, money runs low, or a process dies.
* `trigger/`: the Lambda function that turns an S3 event into a run; standard library only.
* `aws/`, `webhook/`, `github/`, `pools/`: templates for the clouds.
* `Dockerfile`, `compose.yaml`: an image, and everything together on one machine.

`python -m prefect_imagen.deployments` prints the folder of the installed files.
"""
