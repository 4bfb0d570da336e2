"""What can go wrong, each with what to do about it.

Every error that Halflife raises on purpose is a `HalflifeError`: `str(error)` says what was wrong and what to
do next. The command line prints it on one line and exits with the class's `exit_code`.
"""

from __future__ import annotations


class HalflifeError(Exception):
    """Base of all errors. `hint` says what to do next; it is part of the message."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class InvalidInput(HalflifeError, ValueError):
    """A value that cannot be stored or asked for: empty text, a bad date, a NaN vector."""

    exit_code = 2


class InvalidFilter(InvalidInput):
    """A filter with an unknown operator or a wrong shape. Filters are never dropped."""


class UnknownSpace(HalflifeError, LookupError):
    """No memory was ever written for this user or agent."""

    exit_code = 3


class UnknownTrace(HalflifeError, LookupError):
    """No trace with this id in this space."""

    exit_code = 3


class NothingToUndo(HalflifeError, LookupError):
    """The operation does not exist, was undone already, or erased its own past."""

    exit_code = 3


class StoreError(HalflifeError, OSError):
    """The store cannot be opened, read or written."""

    exit_code = 4


class CorruptStore(StoreError):
    """The file is not a Halflife store, or is damaged."""


class WrongKey(StoreError):
    """The store is encrypted and the key is missing or another one; or it is not encrypted and there is a key."""


class NewerStore(StoreError):
    """The store was written by a newer version of Halflife."""


class StoreBusy(StoreError):
    """Another process kept the store locked for longer than the time allowed."""


class EmbedderMismatch(StoreError):
    """The store was made with another embedder."""


class ModelNotFound(HalflifeError, LookupError):
    """The weights of the embedding model are not on this machine."""

    exit_code = 5


class ModelCorrupt(HalflifeError):
    """The weights of the embedding model are not the ones expected."""

    exit_code = 5


class ModelUnavailable(HalflifeError):
    """A language model could not be reached, refused to answer, or took too long."""

    exit_code = 6


class UnusableAnswer(HalflifeError):
    """A language model did not answer in the form asked for, twice. Nothing was written of it."""

    exit_code = 6


class MissingExtra(HalflifeError, ImportError):
    """An optional dependency is not installed."""

    exit_code = 5

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed.", f"Run: pip install 'halflife[{extra}]'")


class Diverged(HalflifeError, ArithmeticError):
    """The loss of a training is no longer a finite number."""

    exit_code = 7
