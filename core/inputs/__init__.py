"""Pictures that go into requests: found, checked before anything is bought, kept by their content, sent."""

from .pictures import InputRefused, Picture, look_at, ready
from .reader import InputReader
from .shelf import InputShelf, inputs_folder
from .spec import InputSpec, RowInputs

__all__ = [
    "InputReader",
    "InputRefused",
    "InputShelf",
    "InputSpec",
    "Picture",
    "RowInputs",
    "inputs_folder",
    "look_at",
    "ready",
]
