"""Where pictures that go into requests are kept: once each, by their content, at the destination of the run.

So a purchase can be explained and repeated, and every worker that buys has what it sends.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..files import home, make_private_folder
from ..providers import ResolvedModel
from ..storage import ChecksumMismatch, KeyTaken, LocalStore, ObjectMissing, ObjectStore
from ..values import content_reference, content_references
from .pictures import InputRefused, Picture, ready

_FOLDER = "inputs"
_HELD = 64 * 2**20
"""Bytes of pictures, as they are sent, that are kept in memory for the next request."""


def inputs_folder() -> Path:
    """Where the pictures of runs are that keep none at their destination."""
    return home() / _FOLDER


def _local_store() -> LocalStore:
    make_private_folder(inputs_folder())
    return LocalStore(inputs_folder().parent)


def input_key(sha256: str) -> str:
    """The key of a picture. It has no extension: what lists the pictures of a delivery leaves it out."""
    return f"{_FOLDER}/{sha256}"


def is_input_key(key: str) -> bool:
    """Whether it is the key of such a picture."""
    return re.fullmatch(f"{_FOLDER}/[0-9a-f]{{64}}", key) is not None


class InputShelf:
    """The pictures that the requests of a run take. Thread-safe.

    Args:
        store: Of the run's images; None to keep them in a folder of this user's.
    """

    def __init__(self, store: ObjectStore | None) -> None:
        self._store = store or _local_store()
        self._lock = threading.Lock()
        self._sent: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._size = 0

    def has(self, picture: Picture) -> bool:
        """Whether a picture is there.

        Raises:
            StoreUnavailable: The store does not answer.
        """
        there = self._store.head(input_key(picture.sha256))
        return there is not None and there.size == picture.size and there.sha256 in (None, picture.sha256)

    def keep(self, picture: Picture, data: bytes) -> None:
        """Put a picture there.

        Raises:
            BadInput: Something else is in its place, or the bytes are not those that were looked at.
            StoreUnavailable: The store does not answer.
        """
        if hashlib.sha256(data).hexdigest() != picture.sha256:
            raise BadInput("a picture was changed while the run was planned: begin again")
        try:
            self._store.put(input_key(picture.sha256), data, sha256=picture.sha256, content_type=picture.content_type)
        except (KeyTaken, ChecksumMismatch) as error:
            raise BadInput(str(error)) from None

    def filled(self, model: ResolvedModel, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that name pictures, with what is sent in their place.

        Raises:
            BadInput: A picture is gone, or cannot be sent.
            StoreUnavailable: The store does not answer.
        """
        found = {}
        for name, hashes in content_references(parameters).items():
            spec = model.contract.fields[name]
            sent = {content_reference(one): self._as_sent(model, one, is_mask=spec.means == "mask") for one in hashes}
            value = parameters[name]
            found[name] = [sent.get(one, one) for one in value] if isinstance(value, list | tuple) else sent[value]
        return found

    def _as_sent(self, model: ResolvedModel, sha256: str, *, is_mask: bool) -> str:
        key = (sha256, model.name, "mask" if is_mask else "")
        with self._lock:
            if (known := self._sent.get(key)) is not None:
                self._sent.move_to_end(key)
                return known
        try:
            data, content_type = ready(self.read(sha256), model.contract.inputs, lossless=is_mask)
        except InputRefused as error:
            raise BadInput(f"{self._store.uri(input_key(sha256))}: {error.reason}") from None
        text = f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"
        with self._lock:
            if key not in self._sent:
                self._sent[key] = text
                self._size += len(text)
            while self._size > _HELD and len(self._sent) > 1:
                self._size -= len(self._sent.popitem(last=False)[1])
        return text

    def read(self, sha256: str) -> bytes:
        """The bytes of a picture.

        Raises:
            BadInput: It is gone, or something else is in its place.
            StoreUnavailable: The store does not answer.
        """
        key = input_key(sha256)
        with tempfile.TemporaryDirectory(prefix="imagen-input-") as folder:
            try:
                source = self._store.get(key, Path(folder, "picture")).source
            except (ObjectMissing, ChecksumMismatch) as error:
                raise BadInput(f"a picture that goes into the request is not there any more: {error}") from None
            data = source if isinstance(source, bytes) else source.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise BadInput(f"{self._store.uri(key)} is not the picture that goes into the request")
        return data
