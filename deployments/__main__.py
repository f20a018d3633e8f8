"""Prints where the files of this folder are, so that a shell can use them from an installed package."""

from __future__ import annotations

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).parent)
