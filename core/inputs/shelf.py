"""Where pictures that go into requests are kept: once each, by their content, at the destination of the run.

So a purchase can be explained and repeated, and every worker that buys has what it sends. A picture goes into the
request itself; or, where the model or the user wants it, as a signed address of the destination. Such an address is
made anew for each send, and is in no file, log or row.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
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
ADDRESS_SECONDS = 3600
"""Life of a signed address. A call takes 17 minutes at most, and waits 4 for the budget before; queues take longer."""
_MEGABYTE = 1_000_000


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
    """Whether it is the key of such a picture, or of a copy that was made of one for a model."""
    return re.fullmatch(f"{_FOLDER}/[0-9a-f]{{64}}(-[0-9a-f]{{16}})?", key) is not None


def keys_of_copies(store: ObjectStore, sha256: str) -> list[str]:
    """The keys of what was made of a picture for models that fetch it."""
    return [info.key for info in store.list(f"{input_key(sha256)}-")] if store.signs_addresses else []


def check_addresses(store: ObjectStore, models: Iterable[ResolvedModel], *, wanted: bool, kept: bool) -> None:
    """Whether pictures can be sent as addresses, where that is wanted or a model takes nothing else.

    Args:
        wanted: By the user.
        kept: Whether the pictures are at the destination.

    Raises:
        BadInput: They cannot.
    """
    needing = next((model.name for model in models if model.contract.inputs.by == "address"), None)
    if needing is None and not wanted:
        return
    why = f"{needing} takes pictures by address only" if needing is not None else "--sign-inputs-above"
    if not kept:
        raise BadInput(f"{why}: that cannot go with --no-keep-inputs, for they have to be at the destination")
    if not store.signs_addresses:
        raise BadInput(f"{why}: that needs a destination in S3, not {store.destination}")


class InputShelf:
    """The pictures that the requests of a run take. Thread-safe.

    Args:
        store: Of the run's images; None to keep them in a folder of this user's.
        sign_above: Megabytes above which a picture is sent as an address; None to do so only where a model wants it.
    """

    def __init__(self, store: ObjectStore | None, sign_above: float | None = None) -> None:
        self._sign_above = sign_above
        self._store = store or _local_store()
        self._lock = threading.Lock()
        self._sent: OrderedDict[tuple[str, str, str, bool], str] = OrderedDict()
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

    def filled(
        self,
        model: ResolvedModel,
        parameters: Mapping[str, Any],
        *,
        same_bytes: bool = False,
    ) -> dict[str, Any]:
        """The parameters that name pictures, with what is sent in their place.

        Args:
            model: Who gets them.
            parameters: Of an item.
            same_bytes: The request has to be the same each time: addresses only where the model takes nothing else.

        Raises:
            BadInput: A picture is gone, or cannot be sent.
            StoreUnavailable: The store does not answer.
        """
        found = {}
        for name, hashes in content_references(parameters).items():
            spec = model.contract.fields[name]
            is_mask = "mask" in (name, spec.means)
            sent = {
                content_reference(one): self._as_sent(model, one, is_mask=is_mask, same_bytes=same_bytes)
                for one in hashes
            }
            value = parameters[name]
            found[name] = [sent.get(one, one) for one in value] if isinstance(value, list | tuple) else sent[value]
        return found

    def _as_sent(self, model: ResolvedModel, sha256: str, *, is_mask: bool, same_bytes: bool) -> str:
        key = (sha256, model.name, "mask" if is_mask else "", same_bytes)
        with self._lock:
            text = self._sent.get(key)
            if text is not None:
                self._sent.move_to_end(key)
        if text is None:
            text = self._made(model, sha256, is_mask=is_mask, same_bytes=same_bytes)
            with self._lock:
                if key not in self._sent:
                    self._sent[key] = text
                    self._size += len(text)
                while self._size > _HELD and len(self._sent) > 1:
                    self._size -= len(self._sent.popitem(last=False)[1])
        return text if text.startswith("data:") else self._store.signed_address(text, ADDRESS_SECONDS)

    def _made(self, model: ResolvedModel, sha256: str, *, is_mask: bool, same_bytes: bool) -> str:
        """A picture as a model takes it: a data URI, or the key of what is fetched."""
        limits = model.contract.inputs
        try:
            data, content_type = ready(self.read(sha256), limits, lossless=is_mask)
        except InputRefused as error:
            raise BadInput(f"{self._store.uri(input_key(sha256))}: {error.reason}") from None
        wanted = self._sign_above is not None and len(data) > self._sign_above * _MEGABYTE and not same_bytes
        if limits.by == "form" or (not wanted and limits.by != "address"):
            return f"data:{content_type};base64,{base64.b64encode(data).decode('ascii')}"
        made = hashlib.sha256(data).hexdigest()
        if made == sha256:
            return input_key(sha256)
        copy = f"{input_key(sha256)}-{made[:16]}"
        try:
            self._store.put(copy, data, sha256=made, content_type=content_type)
        except (KeyTaken, ChecksumMismatch) as error:
            raise BadInput(str(error)) from None
        return copy

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
