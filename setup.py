"""Finds the packages: the folders of this repository lie in `prefect_imagen`, which pyproject.toml cannot express."""

from setuptools import find_packages, setup

FOLDERS = ("blocks", "cli", "core", "deployments", "flows", "sandbox", "tasks")

found = find_packages(include=[pattern for folder in FOLDERS for pattern in (folder, f"{folder}.*")])
setup(
    packages=["prefect_imagen", *(f"prefect_imagen.{name}" for name in found)],
    package_dir={f"prefect_imagen.{folder}": folder for folder in FOLDERS},
)
