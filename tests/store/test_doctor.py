"""The doctor: each kind of damage is done to a file behind the store's back, seen, and mended."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from click.testing import CliRunner

from halflife.agent.memory import Memory
from halflife.cli.app import cli
from halflife.decay import FSRS6
from halflife.errors import CorruptStore, NothingToUndo, StoreError
from halflife.store import doctor, seal
from halflife.store.connection import Database
from halflife.store.draft import Draft
from halflife.store.files import reading
from halflife.store.protocol import Why
from halflife.store.rows import floats, halves
from halflife.store.salvage import salvage
from halflife.store.sqlite import SqliteStore
from halflife.store.trace import Space
from halflife.store.vectors import Approximate, undamaged

NOW = 1_700_000_000.0
TEXTS = ["I moved to Lisbon in May.", "Ben plays the cello.", "有猫 in the garden", "The zebra pin is 7734."]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A store with four memories, a link, a version, an archived and a forgotten one."""
    path = tmp_path_factory.mktemp("original") / "a.db"
    with Memory(path, embedder="hash", clock=lambda: NOW) as memory:
        ids = [added.id for added in memory.add([*TEXTS, "To be forgotten."], user_id="anna", at="2023-05-01")]
        memory.link(ids[0], ids[1], 0.5)
        memory.update(ids[1], text="Ben plays the violin.")
        memory.archive(ids[2])
        memory.search("Lisbon", user_id="anna")
        memory.forget(ids[4])
    return path


@pytest.fixture
def path(original, tmp_path):
    return Path(shutil.copy(original, tmp_path))


def damage(path, *statements):
    """Run SQL on the file as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete = OFF")
        for statement in statements:
            db.execute(*statement) if isinstance(statement, tuple) else db.execute(statement)


def examine(path, repair=False):
    with SqliteStore(path, law=FSRS6()) as store:
        return doctor.examine(store, repair, now=NOW)


def matters(diagnosis):
    return [finding for finding in diagnosis.findings if finding.level == "error"]


def check_mended(path, what, count=None):
    """The damage is seen, is left alone without repair, and is gone after it."""
    for _ in range(2):
        found = examine(path)
        assert not found.healthy
        assert any(what in finding.what for finding in matters(found)), str(found)
        assert not any(finding.repaired for finding in found.findings)
    if count is not None:
        assert [f.count for f in matters(found) if what in f.what] == [count]
    mended = examine(path, repair=True)
    assert mended.healthy, str(mended)
    assert any(what in finding.what and finding.repaired for finding in mended.findings)
    after = examine(path)
    assert after.healthy
    assert not matters(after), str(after)


def test_a_sound_store_is_healthy_and_untouched(path):
    before = path.read_bytes()
    found = examine(path)
    assert found.healthy
    assert not [f for f in found.findings if f.level != "ok"], str(found)
    assert str(found).startswith(f"{path} is healthy.")
    assert json.loads(json.dumps(found.to_dict()))["healthy"] is True
    examine(path, repair=True)
    assert path.read_bytes() == before


def test_stats_are_plain_and_count(path):
    with Memory(path, embedder="hash") as memory:
        stats = memory.stats()
        json.dumps(stats)
        assert stats["traces"]["total"] == 4
        assert stats["traces"]["status"] == {"active": 3, "archived": 1}
        assert stats["spaces"] == {"user:anna": {"active": 3, "archived": 1}}
        assert stats["embedder"] == {"fingerprint": "hash-1/256", "dim": 256}
        assert (stats["vectors"], stats["links"], stats["erased"]) == (4, 1, 1)
        assert stats["operations"]["forget"] == 1
        assert stats["oldest"] == stats["newest"] == "2023-05-01"
        assert stats["bytes"] == sum(stats["files"].values()) > 0


def test_stats_of_an_empty_store_in_memory():
    with Memory(embedder="hash") as memory:
        stats = memory.stats()
        assert (stats["traces"]["total"], stats["files"], stats["oldest"]) == (0, {}, None)


@pytest.mark.parametrize(
    ("table", "column", "row"),
    [
        ("vector", "n", "(999, x'00', NULL)"), ("payload", "n", "(999, x'00')"), ("source", "derived", "(999, 1)"),
        ("source", "source", "(1, 999)"), ("link", "a", "(999, 1, 'x', 1, 1)"), ("link", "b", "(1, 999, 'x', 1, 1)"),
        ("change", "n", "(1, 999, '{}', NULL, NULL)"), ("met", "n", "(999, 1)"),
    ],
)  # fmt: skip
def test_rows_of_no_trace(path, table, column, row):
    damage(path, f"INSERT INTO {table} VALUES {row}")
    check_mended(path, f"{table} rows of no trace ({column})", 1)


def test_rows_of_a_forgotten_trace_are_named_as_such(path):
    damage(path, "INSERT INTO vector (n, data) VALUES (5, x'00')")
    check_mended(path, "vector rows of a forgotten trace", 1)


def test_a_forgotten_trace_that_is_there_again_is_not_decided_by_the_doctor(path):
    damage(path, "INSERT INTO erased VALUES (1, 1, 1, 'x')")
    found = examine(path, repair=True)
    assert not found.healthy
    assert "halflife forget" in str(found)


@pytest.mark.parametrize("length", [0, 4, 511])
def test_vectors_of_the_wrong_length(path, length):
    damage(path, ("UPDATE vector SET data = ? WHERE n = 1", (bytes(length),)))
    check_mended(path, "wrong length", 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_vectors_that_are_no_direction(path, value):
    damage(path, ("UPDATE vector SET data = ? WHERE n = 2", (np.full(256, value, np.float16).tobytes(),)))
    check_mended(path, "not numbers", 1)


def test_a_vector_that_is_not_of_unit_length_keeps_its_direction(path):
    with closing(sqlite3.connect(path)) as db:
        [(data,)] = db.execute("SELECT data FROM vector WHERE n = 1").fetchall()
    unit = floats(data)
    long = halves(unit * 3)
    damage(path, ("UPDATE vector SET data = ?, seal = ? WHERE n = 1", (long, crc32(long))))
    check_mended(path, "length 1", 1)
    with closing(sqlite3.connect(path)) as db:
        [(data,)] = db.execute("SELECT data FROM vector WHERE n = 1").fetchall()
    assert np.allclose(floats(data), unit, atol=1e-3)


def test_words_and_digests_are_made_anew_and_search_finds_them(path):
    damage(path, "UPDATE trace SET terms = x'', digest = x'01' WHERE n = 4")
    check_mended(path, "words or digest", 1)
    with Memory(path, embedder="hash") as memory:
        assert memory.search("zebra", user_id="anna", k=1)[0].text == TEXTS[3]
        assert memory.add(TEXTS[3], user_id="anna", role=None)[0].event == "met"


def test_an_open_memory_sees_what_was_mended(path):
    with Memory(path, embedder="hash") as memory:
        memory.search("zebra", user_id="anna", reinforce=False)
        damage(path, "UPDATE trace SET text = 'A quagga came.' WHERE n = 4")
        assert memory.doctor(repair=True).healthy
        [hit] = memory.search("quagga", user_id="anna", k=1, reinforce=False)
        assert hit.text == "A quagga came."


def test_of_two_that_say_the_same_the_first_stays(path):
    damage(
        path,
        "DROP INDEX trace_same",
        "UPDATE trace SET text = (SELECT text FROM trace WHERE n = 1), digest = (SELECT digest FROM trace WHERE n = 1),"
        " terms = (SELECT terms FROM trace WHERE n = 1) WHERE n = 4",
    )
    check_mended(path, "trace_same")
    with SqliteStore(path, law=FSRS6()) as store:
        assert [trace.status for trace in store.iterate()] == ["active", "active", "archived", "retired"]


def test_a_text_that_became_that_of_another_retires(path):
    damage(path, "UPDATE trace SET text = (SELECT text FROM trace WHERE n = 1) WHERE n = 4")
    check_mended(path, "words or digest", 1)
    with SqliteStore(path, law=FSRS6()) as store:
        assert [trace.status for trace in store.iterate()][3] == "retired"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("stability", 0.0), ("stability", -1.0), ("stability", float("inf")), ("uses", -1.0), ("difficulty", "x"),
        ("lapses", b"x"), ("span", -5.0), ("at", float("inf")), ("last_used", "soon"), ("recorded_at", -float("inf")),
        ("importance", 1.5), ("status", "odd"), ("kind", "odd"), ("version", 0), ("role", ""),
    ],
)  # fmt: skip
def test_fields_that_no_memory_can_have(path, column, value):
    damage(path, (f"UPDATE trace SET {column} = ? WHERE n = 1", (value,)))
    check_mended(path, f"impossible {column}", 1)


def test_unreadable_metadata_is_kept_as_it_is(path):
    damage(path, """UPDATE trace SET metadata = '{"a": ' WHERE n = 1""")
    check_mended(path, "metadata", 1)
    with SqliteStore(path, law=FSRS6()) as store:
        assert next(store.iterate()).metadata == {"unreadable": '{"a": '}


def test_unreadable_versions(path):
    damage(path, "UPDATE change SET before = 'x' WHERE n = 2")
    check_mended(path, "older versions", 1)


def test_text_that_is_not_text(path):
    damage(path, "UPDATE trace SET text = CAST(x'61ff62' AS TEXT) WHERE n = 1")
    check_mended(path, "not text", 1)
    with SqliteStore(path, law=FSRS6()) as store:
        assert next(store.iterate()).text == "a\ufffdb"


def test_traces_of_no_space(path):
    damage(path, "UPDATE trace SET space = 77 WHERE n = 1")
    check_mended(path, "no space", 1)
    with SqliteStore(path, law=FSRS6()) as store:
        assert Space.of(user_id="recovered-77") in dict(store.spaces())


def test_operations_that_are_not_there(path):
    damage(path, "DELETE FROM operation WHERE op = 1")
    check_mended(path, "operations", 1)
    with SqliteStore(path, law=FSRS6()) as store:
        assert store.history(next(store.iterate()).id)[0].kind == "lost"


def test_a_damaged_index_is_made_anew(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        [(page, sql)] = db.execute("SELECT rootpage, sql FROM sqlite_master WHERE name = 'trace_changed'").fetchall()
        db.execute("PRAGMA writable_schema = ON")  # have entries go missing: write to the table without the index
        db.execute("DELETE FROM sqlite_master WHERE name = 'trace_changed'")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE trace SET changed = 2 WHERE n = 1")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("INSERT INTO sqlite_master VALUES ('index', 'trace_changed', 'trace', ?, ?)", (page, sql))
    check_mended(path, "pages and indexes")


# -- seals ------------------------------------------------------------------------------------------------------

CHANGED = [
    "UPDATE trace SET text = 'I moved to Lisboa in May.' WHERE n = 1",
    "UPDATE trace SET metadata = '{\"a\": 1}' WHERE n = 1",
    "UPDATE trace SET at = at + 1 WHERE n = 1", "UPDATE trace SET recorded_at = 5 WHERE n = 1",
    "UPDATE trace SET valid_to = 7 WHERE n = 1", "UPDATE trace SET importance = 0.75 WHERE n = 1",
    "UPDATE trace SET layer = 'lhort' WHERE n = 1", "UPDATE trace SET role = 'user' WHERE n = 1",
    "UPDATE trace SET session_id = 's' WHERE n = 1", "UPDATE trace SET id = 'other' WHERE n = 1",
    "UPDATE trace SET metadata = '[1' WHERE n = 1", "UPDATE trace SET seal = NULL WHERE n = 1",
    "UPDATE trace SET at = 'noon' WHERE n = 1",
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_what_is_not_as_it_was_written_is_refused_named_and_then_kept(path, change):
    damage(path, change)
    with Memory(path, embedder="hash") as memory:
        with pytest.raises(CorruptStore, match="not as it was written"):
            memory.list(user_id="anna")
        with pytest.raises(CorruptStore, match="damaged"):
            memory.search("Lisbon", user_id="anna")
    check_mended(path, "not as they were written", 1)
    with Memory(path, embedder="hash") as memory:
        [trace] = [t for t in memory.list(user_id="anna") if t.text.startswith("I moved")]
        events = [event for event in memory.history(trace.id) if event.kind == "repair"]
        assert "not as it was written" in [event.reason for event in events]
        memory.update(trace.id, importance=1.0)


def test_a_text_that_became_bytes_is_text_again(path):
    damage(path, "UPDATE trace SET layer = CAST(layer AS BLOB) WHERE n = 1")
    with Memory(path, embedder="hash") as memory, pytest.raises(CorruptStore):
        memory.list(user_id="anna")
    check_mended(path, "not as they were written", 1)
    with Memory(path, embedder="hash") as memory:
        assert {trace.layer for trace in memory.list(user_id="anna")} == {"short"}


def test_a_space_whose_name_changed_is_not_another_users(path):
    damage(path, "UPDATE space SET name = 'user:anne'")
    with Memory(path, embedder="hash") as memory, pytest.raises(CorruptStore):
        memory.list(user_id="anne")
    check_mended(path, "not as they were written", 4)


def test_damage_is_not_sealed_by_a_change(path):
    damage(path, "UPDATE trace SET text = 'I moved to Lisboa in May.' WHERE n = 1")
    with Memory(path, embedder="hash") as memory:
        id = memory.engine.store.db.one("SELECT id FROM trace WHERE n = 1")
        with pytest.raises(CorruptStore):
            memory.update(id, importance=1.0)


def test_an_older_version_that_changed_is_not_put_back(path):
    damage(path, "UPDATE change SET before = replace(before, 'cello', 'cella')")
    with Memory(path, embedder="hash") as memory:
        [op] = [event.op for event in memory.operations() if event.kind == "update"]
        with pytest.raises(CorruptStore, match="not as it was written"):
            memory.undo(op)
    check_mended(path, "older versions", 1)


def test_a_vector_that_turned_is_seen(path):
    with closing(sqlite3.connect(path)) as db:
        [(data,)] = db.execute("SELECT data FROM vector WHERE n = 1").fetchall()
    vector = floats(data)
    vector[np.argmax(np.abs(vector))] *= -1  # still of unit length
    damage(path, ("UPDATE vector SET data = ? WHERE n = 1", (halves(vector),)))
    check_mended(path, "not as written", 1)


def widen(path):
    """Make the vectors those of a store of format 2: of 32 bits a number."""
    with closing(sqlite3.connect(path)) as db, db:
        for n, data in db.execute("SELECT n, data FROM vector").fetchall():
            wide = floats(data).tobytes()
            db.execute("UPDATE vector SET data = ?, seal = ? WHERE n = ?", (wide, crc32(wide), n))
        for op, n, before, data in db.execute("SELECT op, n, before, vector FROM change WHERE vector IS NOT NULL"):
            wide = floats(data).tobytes()
            kept = (wide, seal.of_change(before, wide), op, n)
            db.execute("UPDATE change SET vector = ?, seal = ? WHERE op = ? AND n = ?", kept)
        db.execute("PRAGMA user_version = 2")


def vectors_of(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT n, data, seal FROM vector UNION ALL SELECT n, vector, seal FROM change").fetchall()


def test_a_store_of_a_time_without_seals_is_sealed_when_it_is_opened(path):
    widen(path)
    damage(
        path, *(f"ALTER TABLE {t} DROP COLUMN seal" for t in ("trace", "vector", "change")), "PRAGMA user_version = 1"
    )
    found = examine(path)
    assert not matters(found), str(found)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM trace WHERE seal IS NULL").fetchone() == (0,)


def test_a_store_of_a_time_of_wide_vectors_is_halved_when_it_is_opened(path):
    before = vectors_of(path)
    widen(path)
    assert vectors_of(path) != before
    found = examine(path)
    assert not matters(found), str(found)
    assert vectors_of(path) == before


def test_a_store_of_a_time_of_wide_vectors_can_be_salvaged(path, tmp_path):
    before = vectors_of(path)
    widen(path)
    assert salvage(path, tmp_path / "saved.db").healthy
    assert vectors_of(tmp_path / "saved.db") == before


def test_damage_to_a_wide_vector_is_still_seen_when_it_is_halved(path):
    widen(path)
    damage(path, "UPDATE vector SET data = zeroblob(1024) WHERE n = 1", "UPDATE vector SET data = x'00' WHERE n = 2")
    check_mended(path, "not as written", 2)


def test_a_lost_memory_is_named_before_the_indexes_are_made_anew(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        lost = db.execute("SELECT id FROM trace WHERE n = 4").fetchone()[0]
        rows = db.execute("SELECT name, rootpage, sql FROM sqlite_master WHERE tbl_name = 'trace' AND type = 'index'")
        found = rows.fetchall()
        db.execute("PRAGMA writable_schema = ON")  # delete from the table without its indexes
        db.execute("DELETE FROM sqlite_master WHERE type = 'index' AND tbl_name = 'trace' AND sql IS NOT NULL")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'id TEXT NOT NULL UNIQUE', 'id TEXT NOT NULL       ') "
                   "WHERE name = 'trace'")  # fmt: skip
        db.execute("DELETE FROM sqlite_master WHERE name = 'sqlite_autoindex_trace_1'")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM trace WHERE n = 4")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'id TEXT NOT NULL       ', 'id TEXT NOT NULL UNIQUE') "
                   "WHERE name = 'trace'")  # fmt: skip
        for name, page, sql in found:
            db.execute("INSERT INTO sqlite_master VALUES ('index', ?, 'trace', ?, ?)", (name, page, sql))
    mended = examine(path, repair=True)
    assert [(f.count, lost in f.what) for f in mended.findings if "lost (" in f.what] == [(1, True)]
    assert not mended.healthy  # it cannot be given back
    assert examine(path).healthy


class TestIndexFiles:
    @pytest.fixture
    def index(self, path):
        """An index of the store as consolidation would leave it."""
        with Memory(path, embedder="hash") as memory:
            engine = memory.engine
            place = engine.approximate_path(Space.of("anna"))
            vectors = np.eye(256, dtype=np.float32)[:4]
            built = Approximate.build(256, np.arange(1, 5), vectors, engine.store.last_op(), place)
            built.save(engine.identity())
        return place

    def test_a_sound_one_stays(self, path, index):
        assert examine(path, repair=True).healthy
        assert index.exists()

    @pytest.mark.parametrize("change", [{"identity": "other"}, {"op": 10_000}, {"bytes": 1}])
    def test_one_of_another_store_or_time(self, path, index, change):
        note = index.with_suffix(".json")
        note.write_text(json.dumps(json.loads(note.read_text()) | change))
        check_mended(path, "index files", 2)
        assert not index.exists()

    def test_what_a_crash_left(self, path, index):
        index.with_suffix(".123.tmp").write_bytes(b"x")
        check_mended(path, "index files", 1)
        assert index.exists()

    def test_vectors_of_a_forgotten_trace(self, path, index):
        damage(
            path, "INSERT INTO erased SELECT 3, n, space, id FROM trace WHERE n = 4", "DELETE FROM trace WHERE n = 4"
        )
        damage(path, *(f"DELETE FROM {t} WHERE n = 4" for t in ("vector", "change", "met")), "DELETE FROM link")
        check_mended(path, "hold what was forgotten", 2)
        assert not index.exists()


def test_free_pages_with_deleted_content_are_rebuilt(path):
    secret = b"the-quick-secret" * 4000
    damage(path, ("INSERT INTO payload VALUES (1, ?)", (secret,)), "DELETE FROM payload WHERE n = 1")
    assert b"the-quick-secret" in path.read_bytes()
    check_mended(path, "free pages")
    assert b"the-quick-secret" not in path.read_bytes()


def test_repair_empties_the_log(path):
    with SqliteStore(path, law=FSRS6()) as store:
        store.add(Space.of("anna"), [Draft("One more.", NOW)], Why("add"), NOW)
        log = path.with_name("a.db-wal")
        assert log.stat().st_size
        assert doctor.examine(store).healthy
        assert log.stat().st_size
        doctor.examine(store, repair=True)
        assert log.stat().st_size == 0


def test_secure_delete_is_seen_and_turned_on(path):
    with SqliteStore(path, law=FSRS6()) as store:
        store.db.all("PRAGMA secure_delete = OFF")
        assert not doctor.examine(store).healthy
        assert doctor.examine(store, repair=True).healthy
        assert store.db.one("PRAGMA secure_delete") == 1


def test_pages_that_cannot_be_read_are_reported_not_raised(path):
    damage_page(path, root(path, "vector"))
    found = examine(path, repair=True)
    assert not found.healthy
    assert "salvage" in str(found)


# -- salvage ----------------------------------------------------------------------------------------------------

PAGE = 4096


def root(path, name):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]


def damage_page(path, number, data=b"\xff" * PAGE):
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE)
        file.write(data)


@pytest.fixture(scope="module")
def original_large(tmp_path_factory):
    """A store of 600 memories, and what they say."""
    path = tmp_path_factory.mktemp("original") / "large.db"
    texts = [f"Memory number {i} speaks of the matter {i * i} at some length." for i in range(600)]
    with Memory(path, embedder="hash", clock=lambda: NOW) as memory:
        for start in range(0, 600, 100):
            memory.add_many([{"text": text, "at": 1000.0 + i} for i, text in enumerate(texts)][start : start + 100],
                            user_id="anna")  # fmt: skip
    return path, texts


@pytest.fixture
def large(original_large, tmp_path):
    path, texts = original_large
    return Path(shutil.copy(path, tmp_path)), texts


def saved_texts(target):
    with Memory(target, embedder="hash", must_exist=True) as memory:
        assert memory.doctor().healthy
        return {trace.text for trace in memory.list(user_id="anna", limit=None)}


def test_salvage_of_a_sound_file_saves_all(large, tmp_path):
    path, texts = large
    before = path.read_bytes()
    saved = salvage(path, tmp_path / "new.db")
    assert (saved.traces, saved.lost, saved.refused, saved.changed, saved.healthy) == (600, {}, 0, (), True)
    assert saved_texts(tmp_path / "new.db") == set(texts)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["large.db", "new.db"]
    with Memory(tmp_path / "new.db", embedder="hash") as memory:
        assert memory.search("matter 40000", user_id="anna", k=1)[0].text == texts[200]
        assert len(memory.history(memory.list(user_id="anna", limit=1)[0].id)) == 1


def test_salvage_of_a_truncated_file_saves_the_rest(large, tmp_path):
    path, texts = large
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10 // PAGE * PAGE + 100])
    with pytest.raises(CorruptStore), Memory(path, embedder="hash") as memory:
        memory.list(user_id="anna", limit=None)
    saved = salvage(path, tmp_path / "new.db")
    assert saved.healthy
    assert 200 < saved.traces < 600
    lost = sum(b - a + 1 for a, b in saved.lost["trace"])
    assert saved.traces + lost == 600
    assert saved_texts(tmp_path / "new.db") < set(texts)
    assert "unreadable in trace" in str(saved)
    json.dumps(saved.to_dict())


def test_salvage_reads_around_a_page_that_was_overwritten(large, tmp_path):
    path, texts = large
    middle = path.read_bytes().index(b"Memory number 300 ") // PAGE + 1
    damage_page(path, middle)
    saved = salvage(path, tmp_path / "new.db")
    [(low, high)] = saved.lost["trace"]
    assert low <= 301 <= high
    assert saved.traces == 600 - (high - low + 1) > 500
    assert saved_texts(tmp_path / "new.db") == set(texts[: low - 1] + texts[high:])


def test_salvage_names_a_text_in_which_a_bit_flipped(large, tmp_path):
    path, _ = large
    data = bytearray(path.read_bytes())
    data[data.index(b"Memory number 300 ") + 3] ^= 4
    path.write_bytes(data)
    saved = salvage(path, tmp_path / "new.db")
    assert (saved.traces, len(saved.changed), saved.lost) == (600, 1, {})
    with Memory(tmp_path / "new.db", embedder="hash") as memory:
        assert memory.get(saved.changed[0]).text.startswith("Memkry number 300 ")


@pytest.mark.parametrize("length", [16, 100, PAGE])
def test_salvage_of_a_file_whose_beginning_is_lost(large, tmp_path, length):
    path, texts = large
    damage_page(path, 1, bytes(length))
    with pytest.raises(CorruptStore):
        SqliteStore(path, law=FSRS6())
    saved = salvage(path, tmp_path / "new.db")
    assert saved.traces == 600
    assert saved_texts(tmp_path / "new.db") == set(texts)


@pytest.mark.parametrize("seed", range(4))
def test_salvage_never_fails_on_random_damage(large, tmp_path, seed):
    path, texts = large
    random = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    for place in random.integers(PAGE, len(data), size=12):
        data[place] ^= 1 << random.integers(8)
    path.write_bytes(data)
    saved = salvage(path, tmp_path / "new.db")
    assert saved.healthy, str(saved)
    assert saved.traces > 100
    good = saved_texts(tmp_path / "new.db") & set(texts)
    assert len(good) >= saved.traces - len(saved.changed) - 12


def test_numbers_of_lost_traces_are_not_given_again(large, tmp_path):
    path, _ = large
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    salvage(path, tmp_path / "new.db")
    with Memory(tmp_path / "new.db", embedder="hash") as memory:
        assert memory.add("Something new.", user_id="anna")[0].n > 600


def test_salvage_refuses_what_it_cannot_do(large, tmp_path):
    path, _ = large
    with pytest.raises(StoreError, match="exists already"):
        salvage(path, path)
    with pytest.raises(StoreError, match="does not exist"):
        salvage(tmp_path / "none.db", tmp_path / "new.db")
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(bytes(range(256)) * 400)
    with pytest.raises(CorruptStore, match="No memory"):
        salvage(rubbish, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_an_error_that_is_kept_holds_no_lock(tmp_path):
    with Memory(tmp_path / "a.db", embedder="hash") as memory:
        [added] = memory.add("one")
        for text in ("two", "three"):
            memory.update(added.id, text=text)
        with pytest.raises(NothingToUndo) as kept:
            memory.undo(1)
        assert memory.forget(added.id).verified
        assert all(finding.level == "ok" for finding in memory.doctor().findings)
        assert kept.value.__traceback__ is not None


# -- the log ----------------------------------------------------------------------------------------------------


@pytest.fixture
def in_use(tmp_path):
    """A copy of a store in use: three memories in the file, three more in the log alone."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    live.mkdir()
    copy.mkdir()
    with Memory(live / "a.db", embedder="hash") as memory:
        memory.add_many(["one", "two", "three"])
        memory.engine.store.db.all("PRAGMA wal_checkpoint(TRUNCATE)")
        for text in ("four", "five", "six"):
            memory.add(text)
        for suffix in ("", "-wal", "-shm"):
            with reading(f"{live / 'a.db'}{suffix}") as file:
                (copy / f"a.db{suffix}").write_bytes(file.read())
    return copy / "a.db"


def all_texts(path):
    with Memory(path, embedder="hash") as memory:
        return sorted(trace.text for trace in memory.list(limit=None))


def test_a_sound_log_is_no_news(in_use, recwarn):
    assert all_texts(in_use) == sorted(["one", "two", "three", "four", "five", "six"])
    assert not recwarn.list


@pytest.mark.parametrize("keep", [0, 16, 32, 5000])
def test_a_log_that_was_cut_is_said_when_opened_and_by_the_doctor(in_use, keep):
    log = in_use.with_name("a.db-wal")
    log.write_bytes(log.read_bytes()[:keep])
    with pytest.warns(UserWarning, match="log of .* is damaged"):
        assert {"one", "two", "three"} <= set(all_texts(in_use)) < {"one", "two", "three", "four", "five", "six"}
    for repair in (False, True):
        found = examine(in_use, repair)
        assert [f.level for f in found.findings if "of the log" in f.what] == ["warning"], str(found)
    assert not [f for f in examine(in_use).findings if "of the log" in f.what]


@pytest.mark.parametrize("shared", [True, False])
def test_a_bit_in_the_log_is_said(in_use, shared):
    log = in_use.with_name("a.db-wal")
    data = bytearray(log.read_bytes())
    data[32 + 24 + 100] ^= 1
    log.write_bytes(data)
    if not shared:
        in_use.with_name("a.db-shm").unlink()
    with pytest.warns(UserWarning, match="log of .* is damaged"):
        all_texts(in_use)


def test_an_empty_file_beside_a_log_is_not_taken_for_a_new_store(in_use, tmp_path):
    in_use.write_bytes(b"")
    size = in_use.with_name("a.db-wal").stat().st_size
    with pytest.raises(CorruptStore, match="has a log"):
        SqliteStore(in_use, law=FSRS6())
    assert in_use.with_name("a.db-wal").stat().st_size == size
    assert "four" not in salvage(in_use, tmp_path / "new.db").lost


def test_an_empty_file_is_no_store(tmp_path):
    (tmp_path / "a.db").touch()
    with pytest.raises(CorruptStore, match="empty"):
        SqliteStore(tmp_path / "a.db", law=FSRS6(), must_exist=True)
    with SqliteStore(tmp_path / "a.db", law=FSRS6()) as store:
        assert doctor.examine(store).healthy


# -- what cannot be mended where it is ---------------------------------------------------------------------------


def test_a_file_with_damaged_pages_is_left_as_it_is_and_says_what_is_lost(large):
    path, texts = large
    middle = path.read_bytes().index(b"Memory number 300 ") // PAGE + 1
    damage_page(path, middle)
    before = path.read_bytes()
    found = examine(path, repair=True)
    assert found.unreadable
    assert not found.healthy
    assert path.read_bytes() == before
    done = CliRunner().invoke(cli, ["doctor", "--db", str(path), "--repair", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert path.read_bytes() == before
    with Memory(report["salvaged"], embedder="hash") as memory:
        left = {trace.text for trace in memory.list(user_id="anna", limit=None)}
    assert left < set(texts)
    assert len(report["gone"]) == len(texts) - len(left) > 0  # by the ids that the index still knows


def test_a_damaged_index_of_vectors_is_never_loaded(path):
    with Memory(path, embedder="hash") as memory:
        engine = memory.engine
        place = engine.approximate_path(Space.of("anna"))
        built = Approximate.build(
            256, np.arange(1, 5), np.eye(256, dtype=np.float32)[:4], engine.store.last_op(), place
        )
        built.save(engine.identity())
        assert Approximate.load(place, engine.identity()) is not None
        data = bytearray(place.read_bytes())
        data[len(data) // 2] ^= 64
        place.write_bytes(data)
        assert Approximate.load(place, engine.identity()) is None
        assert memory.forget(user_id="anna", about="zebra pin").verified
        assert not place.exists()


@pytest.mark.parametrize("change", [{"op": 5}, {"op": "x"}, {"op": None}, {"crc32": "1"}])
def test_a_note_that_changed_is_not_believed(path, change):
    with Memory(path, embedder="hash") as memory:
        engine = memory.engine
        place = engine.approximate_path(Space.of("anna"))
        Approximate.build(256, np.arange(1, 5), np.eye(256, dtype=np.float32)[:4], 3, place).save(engine.identity())
        note = place.with_suffix(".json")
        note.write_text(json.dumps(json.loads(note.read_text()) | change))
        assert Approximate.load(place, engine.identity()) is None


def test_an_index_from_which_something_was_erased_is_still_sound(path):
    with Memory(path, embedder="hash") as memory:
        engine = memory.engine
        place = engine.approximate_path(Space.of("anna"))
        vectors = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32)
        built = Approximate.build(256, np.arange(1, 5), vectors, engine.store.last_op(), place)
        built.save(engine.identity())
        assert memory.forget(memory.engine.store.by_number([4])[4].id).verified
        assert undamaged(place)
        assert Approximate.load(place, engine.identity()) is not None
    assert examine(path).healthy


@pytest.mark.parametrize("ending", ["closes", "begins the log again"])
def test_a_log_that_another_empties_while_the_store_is_opened_is_not_damaged(tmp_path, monkeypatch, recwarn, ending):
    path = tmp_path / "a.db"
    other = Memory(path, embedder=None)
    other.add("The key is under the mat.")
    connect = Database._connect

    def meanwhile(self, *args):
        if ending == "closes":
            other.close()
        else:
            [(busy, _, _)] = other.engine.store.db.all("PRAGMA wal_checkpoint(TRUNCATE)")
            assert not busy
        return connect(self, *args)

    monkeypatch.setattr(Database, "_connect", meanwhile)
    with Memory(path, embedder=None) as memory:
        assert len(memory.list()) == 1
        assert memory.doctor().healthy
    other.close()
    assert not recwarn.list
