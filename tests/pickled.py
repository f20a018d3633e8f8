"""Exceptions as other processes get them."""

from __future__ import annotations

import io
import pickle
from types import TracebackType

from tblib.pickling_support import pickle_exception, pickle_traceback


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: object) -> object:
        if isinstance(value, BaseException):
            return pickle_exception(value)
        return pickle_traceback(value) if isinstance(value, TracebackType) else NotImplemented


def sent_by_dask(error: BaseException) -> object:
    """A copy of `error`, pickled with its causes and all their frames, as wherever `distributed` has been imported."""
    file = io.BytesIO()
    _Pickler(file).dump(error)
    copy: object = pickle.loads(file.getvalue())
    return copy
