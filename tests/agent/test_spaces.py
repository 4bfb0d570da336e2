"""Nothing crosses a space: no recall, link, consolidation, export or error message, whoever does what in what order.

Every user says the same things, each with a word of their own; whatever comes back to a user, in whatever form,
must hold no word of another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife import Memory
from halflife.agent.consolidate import Policy
from halflife.agent.system import SYSTEMS as REGISTERED
from halflife.cli import main
from halflife.errors import HalflifeError, UnknownTrace

USERS = ("anna", "ben", "cleo", "dora", "ann", "anna:1")
OWNERS: tuple[dict[str, str], ...] = (
    *({"user_id": user} for user in USERS),
    {"agent_id": "anna"},
    {"agent_id": "helper"},
    {},
)
SAYINGS = (
    "I moved to Lisbon {} in May.", "My sister {} plays the cello.", "I like tea {} in the morning.",
    "I am allergic {} to nuts.", "The meeting {} is on Tuesday.",
)  # fmt: skip
SYSTEMS = (None, *REGISTERED)


def word_of(owner: int) -> str:
    """A word that only this owner says."""
    return f"zq{'abcdefghi'[owner] * 4}"


@dataclass
class World:
    """A memory of many users, and the operations that each does in it."""

    memory: Memory
    random: Random
    ids: dict[int, list[str]] = field(default_factory=dict)
    operations: list[int] = field(default_factory=list)

    def check(self, owner: int, *answers: Any) -> None:
        """No word of another owner in what came back."""
        text = json.dumps([plain(answer) for answer in answers], ensure_ascii=False)
        for other in range(len(OWNERS)):
            assert other == owner or word_of(other) not in text, (OWNERS[owner], OWNERS[other], text)

    def said(self, owner: int) -> str:
        return self.random.choice(SAYINGS).format(word_of(owner))

    def question(self, owner: int) -> str:
        """About their own things, or about another's word."""
        asked = self.random.choice((owner, self.random.randrange(len(OWNERS))))
        return self.random.choice((word_of(asked), self.random.choice(SAYINGS).format(word_of(asked)), "tea or cello"))

    def mine(self, owner: int) -> str:
        return self.random.choice(self.ids.get(owner) or ["0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55"])

    def anothers(self, owner: int) -> str:
        others = [id for other, ids in self.ids.items() if other != owner for id in ids]
        return self.random.choice(others or ["0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55"])

    def do(self, name: str, owner: int) -> None:
        """One operation; its answer or its error is checked."""
        try:
            getattr(self, name)(owner, OWNERS[owner])
        except HalflifeError as error:
            self.check(owner, str(error))

    # -- what an owner can do, each under its name in `Memory` ------------------------------------------------------

    def add(self, owner: int, who: dict[str, str]) -> None:
        added = self.memory.add(self.said(owner), **who, metadata={"mark": word_of(owner)}, reason=word_of(owner))
        self.ids.setdefault(owner, []).extend(one.id for one in added)

    def add_many(self, owner: int, who: dict[str, str]) -> None:
        turns = [{"role": "user", "text": self.said(owner), "session_id": "s1"} for _ in range(3)]
        self.ids.setdefault(owner, []).extend(one.id for one in self.memory.add_many(turns, **who))

    def update(self, owner: int, who: dict[str, str]) -> None:
        self.check(owner, self.memory.update(self.mine(owner), text=self.said(owner)))

    def archive(self, owner: int, who: dict[str, str]) -> None:
        self.operations.append(self.memory.archive(self.mine(owner)))

    def link(self, owner: int, who: dict[str, str]) -> None:
        self.memory.link(self.mine(owner), self.random.choice((self.mine(owner), self.anothers(owner))))

    def search(self, owner: int, who: dict[str, str]) -> None:
        filters = self.random.choice((None, {"mark": word_of(self.random.randrange(len(OWNERS)))}, {"role": "user"}))
        hits = self.memory.search(
            self.question(owner), **who, k=50, filters=filters, archived=self.random.random() < 0.3
        )
        self.check(owner, hits, [hit.explain() for hit in hits], [hit.also for hit in hits])
        spaces = {str(hit.trace.space) for hit in hits}
        assert len(spaces) <= 1
        assert not {id for hit in hits for id in (hit.id, *hit.also)} & set(self.ids_of_others(owner))

    def context(self, owner: int, who: dict[str, str]) -> None:
        packed = self.memory.context(self.question(owner), **who, budget=500)
        self.check(owner, packed.text, list(packed.hits))

    def list(self, owner: int, who: dict[str, str]) -> None:
        self.check(owner, self.memory.list(**who, filters={"id": {"in": [self.mine(owner), self.anothers(owner)]}}))
        self.check(owner, self.memory.list(**who, filters={"OR": [{"text": {"contains": "zq"}}, {"role": "user"}]}))

    def history(self, owner: int, who: dict[str, str]) -> None:
        id = self.mine(owner)
        self.check(owner, self.memory.get(id), self.memory.history(id))

    def ops(self, owner: int, who: dict[str, str]) -> None:
        if who:
            self.check(owner, self.memory.operations(**who))

    def undo(self, owner: int, who: dict[str, str]) -> None:
        mine = [op.op for op in self.memory.operations(**who)] if who else self.operations
        self.check(owner, self.memory.undo(self.random.choice(mine or [10**6])))

    def consolidate(self, owner: int, who: dict[str, str]) -> None:
        everyone = self.random.random() < 0.3
        policy = Policy(merge_at=0.5, archive_below=0.1)
        dry = self.memory.consolidate(**who, policy=policy, dry_run=True)
        report = self.memory.consolidate(**({} if everyone else who), policy=policy)
        if who:
            self.check(owner, dry.to_dict())
        if who and not everyone:
            self.check(owner, report.to_dict())

    def plan_forget(self, owner: int, who: dict[str, str]) -> None:
        plan = self.memory.plan_forget(**who, about=self.question(owner), threshold=0.1)
        self.check(owner, [item.trace for item in plan.items])
        if who:
            with pytest.raises(UnknownTrace) as caught:
                self.memory.plan_forget([self.anothers(owner)], **who)
            self.check(owner, str(caught.value))

    def forget(self, owner: int, who: dict[str, str]) -> None:
        before = {other: self.texts(other) for other in range(len(OWNERS)) if other != owner}
        report = self.memory.forget(**who, about=word_of(self.random.randrange(len(OWNERS))))
        self.check(owner, report.to_dict())
        self.ids[owner] = [id for id in self.ids.get(owner, []) if id not in {*report.ids, *report.derived}]
        assert before == {other: self.texts(other) for other in before}

    def export(self, owner: int, who: dict[str, str]) -> None:
        if who:
            lines = list(self.memory.export(**who))
            self.check(owner, lines)
            with Memory(embedder="hash") as other:
                other.import_lines(lines)
                assert len(other.spaces()) <= 1

    def import_lines(self, owner: int, who: dict[str, str]) -> None:
        if "user_id" in who:
            chat = [json.dumps({"role": "user", "content": self.said(owner), "user_id": "cleo"})]
            self.check(owner, self.memory.import_lines(chat, user_id=who["user_id"]).to_dict())

    def stats(self, owner: int, who: dict[str, str]) -> None:
        """What is told of all: counts and names, and no word of anybody."""
        self.check(-1, self.memory.stats(), self.memory.doctor().to_dict(), self.memory.spaces())

    def mistakes(self, owner: int, who: dict[str, str]) -> None:
        """Errors of every kind, each on the way to another's things."""
        for wrong in (
            lambda: self.memory.list(user_id="nobody"),
            lambda: self.memory.search(self.question(owner), **who, filters={"text": {"like": "%"}}),
            lambda: self.memory.search(self.question(owner), user_id="anna", filters={"user_id": "ben"}),
            lambda: self.memory.link(self.mine(owner), self.anothers(owner)),
            lambda: self.memory.undo(10**6),
            lambda: self.memory.get("nothing"),
            lambda: self.memory.import_lines(['{"halflife": 1}', '{"id": "x"}']),
        ):
            with pytest.raises(HalflifeError) as caught:
                wrong()
            self.check(owner, str(caught.value))

    # -- what holds always ------------------------------------------------------------------------------------------

    def texts(self, owner: int) -> list[str]:
        who = OWNERS[owner]
        try:
            return sorted(trace.text for trace in self.memory.list(**who, limit=None))
        except HalflifeError:
            return []

    def ids_of_others(self, owner: int) -> list[str]:
        return [id for other, ids in self.ids.items() if other != owner for id in ids]

    def check_all(self) -> None:
        db = self.memory.engine.store.db
        for a, b, table in (("a", "b", "link"), ("derived", "source", "source")):
            crossing = f"SELECT count(*) FROM {table} JOIN trace AS x ON x.n = {a} JOIN trace AS y ON y.n = {b} "
            assert db.one(f"{crossing} WHERE x.space <> y.space") == 0
        for owner in range(len(OWNERS)):
            self.check(owner, self.texts(owner))
            for name in ("search", "context"):
                self.do(name, owner)


def plain(value: Any) -> str:
    """Everything that an answer says."""
    return value if isinstance(value, str) else repr(value)


NAMES = tuple(
    "add add_many update archive link search context list history ops undo consolidate plan_forget forget export "
    "import_lines stats mistakes".split()
)


@pytest.mark.parametrize("system", SYSTEMS)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    acts=st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(0, len(OWNERS) - 1)), min_size=20, max_size=45
    ),
)  # fmt: skip
def test_nothing_crosses_a_space(system: str | None, seed: int, acts: list[tuple[str, int]]) -> None:
    with Memory(embedder="hash", system=system, actor="test") as memory:
        world = World(memory, Random(seed))
        for owner in range(len(OWNERS)):
            world.add_many(owner, OWNERS[owner])
        for name, owner in acts:
            world.do(name, owner)
        world.check_all()


def test_the_check_would_see_it() -> None:
    world = World(Memory(embedder="hash"), Random(0))
    world.check(0, word_of(0))
    with pytest.raises(AssertionError):
        world.check(0, {"text": word_of(1)})
    world.memory.close()


def test_the_same_words_of_two_users_are_two_memories(memory: Memory) -> None:
    [a] = memory.add("I like tea.", user_id="anna")
    [b] = memory.add("I like tea.", user_id="ben")
    assert (b.event, a.id != b.id) == ("add", True)
    memory.consolidate(policy=Policy(merge_at=0.5))
    assert memory.get(a.id).status == memory.get(b.id).status == "active"
    memory.forget(user_id="anna", everything=True)
    assert memory.get(b.id).text == "I like tea."


@pytest.mark.parametrize("filters", [{"user_id": "ben"}, {"OR": [{"user_id": "ben"}]}, {"space": "user:ben"}])
def test_a_filter_is_no_way_out(memory: Memory, filters: dict[str, Any]) -> None:
    memory.add("I like tea.", user_id="ben")
    memory.add("I like coffee.", user_id="anna")
    said = ""
    try:
        said = str([hit.text for hit in memory.search("tea", user_id="anna", filters=filters)])
    except HalflifeError as error:
        said = str(error)
    assert "tea" not in said


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "hash")

    def command(*args: str) -> tuple[int, str]:
        code = main(args)
        return code, "".join(capsys.readouterr())

    return command


def test_the_command_line(run: Callable[..., tuple[int, str]]) -> None:
    run("add", "I like zqben tea.", "--user", "ben", "--meta", "mark=zqben", "--reason", "zqben")
    _, added = run("add", "I like coffee.", "--user", "anna", "--json")
    mine = json.loads(added)["id"]
    _, listed = run("list", "--user", "ben", "--json")
    his = json.loads(listed)["id"]
    for args in (
        ("search", "zqben tea", "--user", "anna"), ("context", "tea", "--user", "anna"), ("list", "--user", "anna"),
        ("show", mine), ("history", mine), ("history", "--user", "anna"), ("stats",), ("doctor",),
        ("export", "-", "--user", "anna"), ("consolidate", "--user", "anna"),
        ("forget", "--user", "anna", "--about", "tea", "--threshold", "0.01"),
        ("forget", his, "--user", "anna", "--yes"), ("forget", "--user", "nobody", "--everything"),
        ("list", "--user", "nobody"), ("search", "tea", "--user", "nobody"),
        ("export", "-", "--user", "nobody"), ("search", "tea", "--user", "anna", "--filter", '{"user_id": "ben"}'),
    ):  # fmt: skip
        code, out = run(*args)
        assert "zqben" not in out, args
        if "nobody" in args:
            assert code == 3 or args[0] == "search"
            assert "ben" not in out, args
            assert "anna" not in out, args
    assert "zqben" in run("search", "tea", "--user", "ben")[1]
