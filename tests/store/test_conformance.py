"""The SQLite store keeps the contract, in a file and in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings

from halflife.store.erase import erase
from halflife.store.protocol import Store, Why
from halflife.store.sqlite import SqliteStore
from tests.store.conformance import DIM, LAW, StoreContract, StoreMachine


class TestFile(StoreContract):
    def open_store(self, folder: Path) -> Store:
        store = SqliteStore(folder / self.name, law=LAW, synchronous="NORMAL")
        store.bind("test", DIM)
        return store

    def erase(self, store: Store, ids: Sequence[str]) -> None:
        assert erase(cast(SqliteStore, store), ids, Why("forget"), 0.0).verified


class TestInMemory(TestFile):
    lasts = False

    def open_store(self, folder: Path) -> Store:
        path = folder / self.name
        store = SqliteStore(path if path.exists() else ":memory:", law=LAW)
        store.bind("test", DIM)
        return store


class InFile(StoreMachine):
    contract = TestFile()

    def reopened(self, store: Store | None) -> Store:
        if store is None:
            self.folder = tempfile.TemporaryDirectory()
        else:
            store.close()
        return self.contract.open_store(Path(self.folder.name))

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class InMemory(StoreMachine):
    contract = TestInMemory()

    def reopened(self, store: Store | None) -> Store:
        return store or self.contract.open_store(Path("/nowhere"))


TestRandomOperationsInFile = InFile.TestCase
TestRandomOperationsInFile.settings = settings(max_examples=12, stateful_step_count=25)


@pytest.mark.torture
class TestManyRandomOperations(InFile.TestCase):  # type: ignore[misc, name-defined]
    settings = settings(max_examples=300, stateful_step_count=80)


TestRandomOperationsInMemory = InMemory.TestCase
TestRandomOperationsInMemory.settings = settings(max_examples=60, stateful_step_count=30)
