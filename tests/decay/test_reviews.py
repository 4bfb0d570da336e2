"""Review logs, and the history before each review."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from halflife.decay import DAY, FSRS6, LAWS, Reviews, law, replay
from halflife.errors import InvalidInput

HEAD = "card_id,review_rating,review_time,review_duration\n"
ROOT = Path(os.environ.get("HALFLIFE_DATA", Path(__file__).parents[3] / "shared" / "data"))
LOG = ROOT / "spaced_repetition" / "review_logs.csv.gz"


def random_log(seed: int, n: int = 200) -> Reviews:
    rng = np.random.default_rng(seed)
    return Reviews(rng.integers(0, 20, n), rng.permutation(n) * 0.3 * DAY, rng.integers(1, 5, n).astype(float))


@pytest.mark.parametrize("seed", range(5))
def test_the_history_equals_a_loop_over_each_item(seed: int) -> None:
    log = random_log(seed)
    h = log.history
    for item in np.unique(log.item):
        times: list[float] = []
        outcomes: list[float] = []
        for i in np.flatnonzero(log.item == item):
            streak = 0
            for y in reversed(outcomes):
                if not y:
                    break
                streak += 1
            assert (h.rank[i], h.right[i], h.wrong[i]) == (len(times), sum(outcomes), len(times) - sum(outcomes))
            assert h.streak[i] == streak
            assert h.span[i] == pytest.approx(times[-1] - times[0] if times else 0.0)
            assert h.elapsed[i] == pytest.approx(log.time[i] - times[-1]) if times else np.isnan(h.elapsed[i])
            times.append(log.time[i])
            outcomes.append(log.recalled[i])


def test_ranks_keep_items_in_one_order() -> None:
    log = random_log(0)
    for earlier, later in zip(log.by_rank, log.by_rank[1:], strict=False):
        assert (log.item[earlier[: len(later)]] == log.item[later]).all()
        assert (log.history.rank[later] == log.history.rank[earlier[0]] + 1).all()
    assert sum(len(rows) for rows in log.by_rank) == len(log)


@pytest.mark.parametrize("name", sorted(LAWS))
def test_replay_equals_a_loop_over_each_item(name: str) -> None:
    log, one = random_log(1), law(name)
    predicted = replay(one, log)
    for item in np.unique(log.item):
        state = None
        for i in np.flatnonzero(log.item == item):
            if state is None:
                assert np.isnan(predicted[i])
                state = one.initial(log.grade[i])
                continue
            elapsed = float(log.history.elapsed[i])
            assert predicted[i] == pytest.approx(one.retention(elapsed, state))
            state = one.reinforce(state, elapsed, log.grade[i])


def test_scored_reviews_are_old_enough_and_in_order_of_time() -> None:
    log = random_log(2)
    rows = log.scored()
    assert (log.history.elapsed[rows] >= DAY).all()
    assert (np.diff(log.time[rows]) >= 0).all()
    assert len(log.scored(0.0)) == len(log) - len(np.unique(log.item))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_log_is_read_from_csv(tmp_path: Path, zipped: bool) -> None:
    text = HEAD + "9,3,2024-03-30T00:00:00+00:00,5\n9,1,2024-03-29T00:00:00,7\n8,4,2024-03-29T02:00:00+02:00,1\n"
    path = tmp_path / ("log.csv.gz" if zipped else "log.csv")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    log = Reviews.from_csv(path)
    assert log.grade.tolist() == [4, 1, 3]
    assert log.time.tolist() == [1711670400.0, 1711670400.0, 1711756800.0]
    assert len(Reviews.from_csv(_write(tmp_path, HEAD))) == 0


def test_a_log_that_cannot_be_read_says_where(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="review_time"):
        Reviews.from_csv(_write(tmp_path, "card_id,review_rating\n"))
    for line in ("9,3,yesterday,1", "9,good,2024-03-30T00:00:00,1"):
        with pytest.raises(InvalidInput, match="line 2"):
            Reviews.from_csv(_write(tmp_path, HEAD + line + "\n"))
    with pytest.raises(InvalidInput, match="grade"):
        Reviews.from_csv(_write(tmp_path, HEAD + "9,7,2024-03-30T00:00:00,1\n"))
    with pytest.raises(InvalidInput, match="Cannot read"):
        Reviews.from_csv(tmp_path / "absent.csv")


def test_a_log_needs_finite_times_and_one_length() -> None:
    with pytest.raises(InvalidInput, match="finite"):
        Reviews(np.array([1]), np.array([np.nan]), np.array([3.0]))
    with pytest.raises(InvalidInput, match="one length"):
        Reviews(np.array([1, 2]), np.array([0.0]), np.array([3.0]))


@pytest.mark.skipif(not LOG.exists(), reason=f"the review log is not there: {LOG}")
def test_the_real_log_and_fsrs_on_it() -> None:
    log = Reviews.from_csv(LOG)
    rows = log.scored()
    assert (len(log), len(np.unique(log.item)), len(rows)) == (12_580, 1_205, 5_329)
    y, p = log.recalled[rows], np.clip(replay(FSRS6(whole_days=True), log)[rows], 1e-4, 1 - 1e-4)
    loss = -np.log(np.where(y > 0, p, 1 - p))
    cut = int(0.8 * len(rows))
    assert (loss[:cut].mean(), loss[cut:].mean()) == pytest.approx((0.4615, 0.4472), abs=1e-4)


def _write(folder: Path, text: str) -> Path:
    path = folder / "log.csv"
    path.write_text(text)
    return path
