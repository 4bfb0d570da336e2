"""Long random lives of a memory, beside a dictionary with a history."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.store.test_model import MemoryModel
from tests.torture.tally import Tally


@pytest.mark.torture
@pytest.mark.parametrize("steps", [20, 40, 80])
def test_long_histories(tally: Tally, steps: int) -> None:
    with tally.of("histories") as count:

        class Counted(MemoryModel):
            def teardown(self) -> None:
                count.cases += 1
                count.acknowledged += len(self.said)
                super().teardown()

        try:
            run_state_machine_as_test(Counted, settings=settings(max_examples=100, stateful_step_count=steps))
        except AssertionError:
            count.corruptions += 1
            raise
