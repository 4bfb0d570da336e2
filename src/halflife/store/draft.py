"""What is handed to a store to be written: checked once, here, before anything is touched."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import State
from halflife.errors import InvalidInput
from halflife.store.trace import KINDS, Kind, check_text

MAX_TEXT = 1_000_000
RESERVED = frozenset(
    ("user_id", "agent_id", "session_id", "run_id", "space", "id", "at", "role", "text", "kind", "layer", "status")
)


@dataclass(slots=True)
class Draft:
    """A trace to be: the fields of `Trace` that a caller decides. Mutable until it is written.

    `vectors` has one row a window, shape [windows, dim], float32, unit length; None for a trace found by its
    words alone. `state` None lets the law decide. Raises `InvalidInput` on anything that cannot be stored.
    """

    text: str
    at: float
    vectors: NDArray[np.float32] | None = None
    role: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    importance: float = 0.5
    layer: str = "short"
    kind: Kind = "text"
    valid_from: float | None = None
    valid_to: float | None = None
    sources: tuple[str, ...] = ()
    system: str = ""
    payload: bytes | None = None
    id: str | None = None
    state: State | None = None

    def __post_init__(self) -> None:
        check_content(self.text, empty_ok=self.payload is not None)
        if not math.isfinite(self.at):
            raise InvalidInput(f"The time {self.at!r} is not a finite number of seconds.")
        if self.importance != 0.5:
            check_importance(self.importance)
        if self.kind not in KINDS:
            raise InvalidInput(f"kind must be one of {', '.join(get_args(Kind))}, not {self.kind!r}.")
        if self.valid_from is not None or self.valid_to is not None:
            check_validity(self.valid_from, self.valid_to)
        if self.layer != "short":
            check_name(self.layer, "layer")
        if self.role is not None:
            check_name(self.role, "role")
        if self.agent_id is not None:
            check_name(self.agent_id, "agent_id")
        if self.session_id is not None:
            check_name(self.session_id, "session_id")
        if self.id is not None:
            check_name(self.id, "id")
        if self.vectors is not None:
            check_vectors(self.vectors)

    def digest(self) -> bytes:
        """What makes two writes the same memory: who said it and the words, not the spacing."""
        content = self.payload if self.payload is not None else b""
        words = " ".join(self.text.split())
        return hashlib.blake2b(f"{self.kind}\0{self.role or ''}\0{words}\0".encode() + content, digest_size=16).digest()


def check_validity(start: float | None, end: float | None) -> None:
    """Refuse a period that is none."""
    for moment in (start, end):
        if moment is not None and not math.isfinite(moment):
            raise InvalidInput(f"The time {moment!r} is not a finite number of seconds.")
    if start is not None and end is not None and end < start:
        raise InvalidInput("valid_to lies before valid_from.")


def check_name(value: str, what: str) -> None:
    """Refuse a name that is no string, or empty."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{what} must be a non-empty string, not {value!r}.")
    check_text(value, what)


def check_content(text: str, *, empty_ok: bool = False) -> None:
    """Refuse text that is not text, says nothing, or is too long for one memory."""
    if not isinstance(text, str):
        raise InvalidInput(f"The text must be a string, not {type(text).__name__}.")
    if not empty_ok and not text.strip():
        raise InvalidInput("The text is empty.", "A memory needs something to remember.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"The text has {len(text):,} characters; one memory holds up to {MAX_TEXT:,}.",
            "Split it into the parts that should be remembered apart.",
        )
    check_text(text, "The text")


def check_importance(importance: float) -> None:
    """Refuse what is no number in [0, 1]."""
    if not isinstance(importance, (int, float, np.number)) or not 0.0 <= importance <= 1.0:
        raise InvalidInput(f"importance must be a number in [0, 1], not {importance!r}.")


def check_vectors(vectors: NDArray[np.float32]) -> None:
    """Refuse what cannot be a row of unit vectors."""
    if vectors.ndim != 2 or vectors.shape[0] == 0 or vectors.shape[1] == 0:
        raise InvalidInput(f"Vectors must have the shape [windows, dim], not {vectors.shape}.")
    if not math.isfinite(float(vectors.sum())):  # one pass: any NaN or infinity spoils the sum
        raise InvalidInput("The vector has a NaN or infinite component.", "Check the embedder that made it.")


def metadata_json(metadata: Mapping[str, Any] | None) -> str:
    """The user's fields as JSON; identity fields are refused, since they would look like what they are not."""
    if not metadata:
        return "{}"
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InvalidInput("metadata must be a mapping with string keys.")
    clash = sorted(RESERVED & metadata.keys())
    if clash:
        raise InvalidInput(
            f"metadata may not hold {', '.join(clash)}: that is a field of the memory itself.",
            "Pass it as an argument, or choose another name.",
        )
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata is not JSON: {error}.") from None
    check_text(text, "metadata")
    return text
