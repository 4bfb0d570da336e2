"""Other memories in the same race, where they are installed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks import peers
from halflife.probe.benchmarks.history import History, Item, Question, Retriever
from halflife.probe.benchmarks.systems import PEERS
from tests.probe.conftest import history


def test_every_peer_has_a_name_in_the_list() -> None:
    assert tuple(peers.PEERS) == PEERS


def test_a_peer_that_is_not_installed_says_what_to_install(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    for peer in peers.PEERS.values():
        monkeypatch.setattr(peer, "packages", (("nowhere_to_be_found", "somewhere"),))
        with pytest.raises(peers.MissingPeer, match=r"is not installed .* Run: pip install somewhere") as caught:
            peer(embedder)
        assert caught.value.exit_code == 5


@pytest.fixture(params=PEERS)
def peer(
    request: pytest.FixtureRequest, embedder: Embedder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Retriever:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        return peers.PEERS[request.param](embedder)
    except peers.MissingPeer as error:
        pytest.skip(str(error))


def test_a_peer_finds_an_item_leaves_nothing_and_starts_afresh(peer: Retriever, tmp_path: Path) -> None:
    question = Question("q", "Ann: I adopted a dog called Rex.", 0.0, "")
    peer.ingest(history())
    found = peer.search(question, 3)
    assert found[0] == "a1"
    assert len(set(found)) == len(found) <= 3
    long = Item("long", "Ann: We talked about this and that. " * 80 + "And the parrot is called Polly.")
    peer.ingest(History("other", (long, Item("short", "Bob: Hello."))))
    assert set(peer.search(question, 5)) <= {"long", "short"}
    peer.close()
    assert list(tmp_path.iterdir()) == []
