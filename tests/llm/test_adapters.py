"""The embedders that need no model of ours, and the words that name them."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from halflife.errors import HalflifeError, InvalidInput, MissingExtra
from halflife.llm import CallableEmbedder, Embedder, HashEmbedder, MiniLM
from halflife.llm.resolve import embedder

HASH_OF_HALF_LIFE = [0.140952, 0.140952, 0.610793, -0.046984, 0.0, -0.751746, 0.140952, 0.0]
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))


@given(texts=st.lists(UNICODE, max_size=5))
def test_hash_vectors_are_unit_and_depend_on_nothing_else(texts: list[str]) -> None:
    model = HashEmbedder(dim=32)
    vectors = model.embed(texts)
    assert vectors.shape == (len(texts), 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(model.embed([text])[0], vector)


def test_hash_vectors_are_the_same_everywhere() -> None:
    vector = HashEmbedder(dim=8).embed(["half-life"])[0]
    np.testing.assert_allclose(vector, HASH_OF_HALF_LIFE, atol=1e-6)


def test_hash_sees_shared_words_and_spellings() -> None:
    vectors = HashEmbedder().embed(["she likes gardening", "She liked the garden", "quarterly tax report"])
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ([[1.0, 2.0]], "shape"),
        ([[1.0], [2.0]], "shape"),
        ([[1.0, float("nan")], [1.0, 1.0]], "NaN"),
        ([[0.0, 0.0], [1.0, 1.0]], "zero vector"),
        ([["a", "b"], ["c", "d"]], "numbers"),
        (None, "numbers|shape"),
    ],
)
def test_a_function_that_returns_rubbish_is_told(returned: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        CallableEmbedder(lambda texts: returned, dim=2).embed(["a", "b"])


def test_a_function_is_asked_for_its_dimension() -> None:
    model = CallableEmbedder(lambda texts: np.ones((len(texts), 7)), name="ones")
    assert (model.dim, model.fingerprint) == (7, "ones/7")
    assert model.embed([]).shape == (0, 7)
    with pytest.raises(InvalidInput, match="for one text"):
        CallableEmbedder(lambda texts: 1.0)


def test_specs() -> None:
    assert embedder().fingerprint == embedder("minilm").fingerprint == MiniLM().fingerprint
    assert embedder("minilm:int8").fingerprint.endswith("int8")
    assert embedder("hash").dim == 256
    assert embedder("hash:64").dim == 64
    mine = HashEmbedder(16)
    assert embedder(mine) is mine
    assert embedder(lambda texts: [[1.0]] * len(texts)).dim == 1


@pytest.mark.parametrize("spec", ["", "mini", "minilm:int4", "hash:x", "hash:4", "openai", "openai:", "st:", 7])
def test_bad_specs_are_refused(spec: Any) -> None:
    with pytest.raises(InvalidInput):
        embedder(spec)


@pytest.mark.parametrize(("spec", "module"), [("openai:m", "openai"), ("st:m", "sentence_transformers")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, spec: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'halflife\["):
        embedder(spec)


class Server(BaseHTTPRequestHandler):
    """Embeds a text as (its length, 1), answering in reverse order; fails once for each batch with `flaky`."""

    requests: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(body)
        failing = body["model"] == "broken" or (body["model"] == "flaky" and len(self.requests) == 1)
        vectors = [
            {"object": "embedding", "index": i, "embedding": [float(len(text)), 1.0]}
            for i, text in enumerate(body["input"])
        ]
        reply = {"object": "list", "model": body["model"], "data": vectors[::-1], "usage": {}}
        data = json.dumps({"error": {"message": "no such model"}} if failing else reply).encode()
        self.send_response(500 if body["model"] == "flaky" and failing else 404 if failing else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Keep the tests quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    pytest.importorskip("openai", reason="the openai package is not installed")
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    Server.requests = []
    with HTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/v1", Server.requests
        http.shutdown()
        thread.join()


def test_openai_embeds_in_batches_and_keeps_the_order(server: tuple[str, list[dict[str, Any]]]) -> None:
    from halflife.llm import OpenAIEmbedder

    url, requests = server
    model = OpenAIEmbedder("tiny", base_url=url, batch_size=2)
    vectors = model.embed(["a", "bbb", ""])
    assert model.dim == 2
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], [1, 3, 1], rtol=1e-5)
    assert [body["input"] for body in requests] == [["a", "bbb"], [" "], ["dimension"]]
    assert model.fingerprint == "openai:tiny/2"
    assert isinstance(model, Embedder)


def test_openai_retries_and_then_says_what_failed(
    server: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from halflife.llm import OpenAIEmbedder

    url, requests = server
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert OpenAIEmbedder("flaky", dim=2).embed(["a"]).shape == (1, 2)
    assert [body["dimensions"] for body in requests] == [2, 2]
    with pytest.raises(HalflifeError, match="no such model"):
        OpenAIEmbedder("broken").embed(["a"])


def test_openai_needs_a_key_only_for_openai(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="OPENAI_API_KEY"):
        embedder("openai:text-embedding-3-small")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    assert embedder("openai:text-embedding-3-small").fingerprint == "openai:text-embedding-3-small/1536"


@given(text=st.lists(UNICODE | st.sampled_from(["word ", "東" * 30, "End. "]), max_size=30).map("".join))
def test_openai_windows_fit_and_lose_nothing(text: str) -> None:
    from halflife.llm.windows import byte_pieces, spans

    assume(not re.search(r"\s{4}", text))
    found = spans(text, byte_pieces(text, 64), 64, overlap=4)
    assert found[0][0] == 0
    assert found[-1][1] == len(text)
    assert all(len(text[a:b].encode()) <= 64 + 16 for a, b in found)
    for (start, end), (after, _) in pairwise(found):
        assert start < after <= end


def test_sentence_transformers_adapter(minilm: MiniLM) -> None:
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = embedder(f"st:{minilm.files.directory}")
    texts = ["A cat sleeps.", "word " * 1000]
    np.testing.assert_allclose(model.embed(texts), minilm.embed(texts), atol=1e-5)
    assert model.dim == 384
    assert model.count_tokens("hello world") == 2
    assert model.split(texts[1]) == minilm.split(texts[1])
