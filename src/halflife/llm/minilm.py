"""all-MiniLM-L6-v2 without torch: the official weights, run by onnxruntime.

The vectors are those of sentence-transformers (cosine above 0.9999). Nothing is downloaded: `models.locate`
says where the weights are looked for, and they are checked before use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from halflife.errors import InvalidInput
from halflife.llm import models
from halflife.llm.checks import as_texts
from halflife.llm.embedder import Vectors
from halflife.llm.windows import spans, token_pieces

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Encoding, Tokenizer

Precision = Literal["fp32", "int8"]

_DIM, _POSITIONS = 384, 512
_SPECIAL = 2  # [CLS] and [SEP]


class MiniLM:
    """The default embedder: 384 dimensions, English first, 22 million weights.

    Construction finds the model's files; the model is loaded by the first call that needs it. One instance
    may be shared by threads, and is loaded anew in a forked process.

    Parameters
    ----------
    path: where the model is; by default `models.locate` looks for it.
    precision: `fp32`, or `int8` for 8-bit weights and activations, whose vectors differ slightly and make a
        vector space of their own.
    max_tokens: length of a window, with its two special tokens: 16 to 512. The model was trained on 256.
    batch_size: how many texts are run at once.
    threads: of the computation; by default the CPUs that this process may use.

    Raises
    ------
    ModelNotFound, ModelCorrupt: see `models.locate` and `models.verify`.

    >>> model = MiniLM()
    >>> cat, kitten, tax = model.embed(["A cat sleeps.", "The kitten naps.", "Tax is due in May."])
    >>> bool(cat @ kitten > cat @ tax)
    True
    """

    dim = _DIM

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        precision: Precision = "fp32",
        max_tokens: int = 256,
        batch_size: int = 32,
        threads: int | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise InvalidInput(f"precision must be 'fp32' or 'int8', not {precision!r}.")
        if not 16 <= max_tokens <= _POSITIONS:
            raise InvalidInput(f"max_tokens must be from 16 to {_POSITIONS}, not {max_tokens}.")
        if batch_size < 1 or (threads is not None and threads < 1):
            raise InvalidInput("batch_size and threads must be at least 1.")
        self.files = models.locate(path)
        self.precision = precision
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.threads = threads
        self._session: InferenceSession | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """`all-MiniLM-L6-v2/53aa5117`, with `/int8` after it for that precision."""
        base = f"{models.NAME}/{models.SHA256[models.WEIGHTS][:8]}"
        return base if self.precision == "fp32" else f"{base}/{self.precision}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), 384]; of a text longer than a window only the first window is seen."""
        rows = [self._ids(text) for text in as_texts(texts)]
        vectors = np.empty((len(rows), _DIM), np.float32)
        by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # so that little is padded
        for start in range(0, len(rows), self.batch_size):
            batch = by_length[start : start + self.batch_size]
            vectors[batch] = self._run([rows[i] for i in batch])
        return vectors

    def split(self, text: str) -> list[str]:
        """Windows of at most `max_tokens`, cut between sentences or words; a little is repeated, nothing lost."""
        size = self.max_tokens - _SPECIAL
        encoding = self._encode(text)
        pieces = token_pieces(encoding.word_ids, encoding.offsets, size)
        return [text[a:b] for a, b in spans(text, pieces, size, overlap=size // 16)]

    def count_tokens(self, text: str) -> int:
        """The number of the text's word pieces, without the special tokens."""
        return len(self._encode(text))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _encode(self, text: str) -> Encoding:
        (checked,) = as_texts([text])
        return self._tokenizer.encode(checked, add_special_tokens=False)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        models.verify_file(self.files.tokenizer)
        tokenizer = Tokenizer.from_file(str(self.files.tokenizer))
        tokenizer.no_truncation()  # the file asks for 128 tokens, padded to 128
        tokenizer.no_padding()
        return tokenizer

    def _run(self, rows: list[list[int]]) -> Vectors:
        lengths = np.array([len(row) for row in rows])
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int32)
        ids = np.zeros_like(mask)
        ids[mask == 1] = np.concatenate(rows)
        (vectors,) = self._live_session().run(["vectors"], {"ids": ids, "mask": mask})
        return np.asarray(vectors)

    def _live_session(self) -> InferenceSession:
        if self._process != os.getpid():
            # A fork inherits neither the threads that the session needs nor who held the lock.
            self._session, self._lock, self._process = None, threading.Lock(), os.getpid()
        with self._lock:
            if self._session is None:
                self._session = self._load()
            return self._session

    def _load(self) -> InferenceSession:
        with ThreadPoolExecutor(1) as pool:
            check = pool.submit(models.verify_file, self.files.weights)  # hashes while onnxruntime is imported
            import onnxruntime as ort
            from safetensors import safe_open

            from halflife.llm import bert

            check.result()
        with safe_open(self.files.weights, "np") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model, named = bert.encoder(weights, bert.MATMULS[self.precision])
        options = ort.SessionOptions()
        # A number set by hand also keeps onnxruntime from pinning threads to cores that it may not use.
        options.intra_op_num_threads = self.threads or _cpus()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is written fused
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in named.values()]
        options.add_external_initializers(list(named), values)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
