"""What can go wrong with an object store.

    ImagenError
    ├── BadInput
    │   └── StoreNotUsable      bucket, folder, credentials or key will not work as they are
    ├── Unavailable
    │   └── StoreUnavailable    no connection, time-out, 5xx, SlowDown, disk full: it may work again later
    ├── KeyTaken                the key holds other content, which is never overwritten
    ├── ChecksumMismatch        the bytes are not the ones that the given SHA-256 belongs to
    └── ObjectMissing           there is nothing at the key

No message carries a key, a secret or a token of the credentials.
"""

from __future__ import annotations

from ..errors import BadInput, ImagenError, Unavailable


class StoreNotUsable(BadInput):
    """The store cannot be used as configured; the message names bucket or folder and what is missing."""


class StoreUnavailable(Unavailable):
    """The store does not answer, or answers that it cannot now."""


class _ObjectError(ImagenError):
    """About one object, named by its URI."""

    _text = ""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.uri = uri

    def __str__(self) -> str:
        return f"{self.uri} {self._text}"


class KeyTaken(_ObjectError):
    """`uri` exists with other content. It was left as it is; choose another key template or destination."""

    _text = "exists with other content and was left as it is"


class ChecksumMismatch(_ObjectError):
    """The bytes sent to or read from `uri` do not have the SHA-256 that was promised."""

    _text = "does not have the SHA-256 that was promised: the bytes changed on their way"


class ObjectMissing(_ObjectError):
    """`uri` does not exist."""

    _text = "does not exist"
