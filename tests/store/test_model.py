"""A memory behaves as a dictionary with a history, whatever is done to it in whatever order.

The model is plain Python: what each trace says, who undid what, and brute force for what a search finds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from halflife import Memory
from halflife.agent.consolidate import Policy
from halflife.errors import InvalidInput, NothingToUndo, UnknownTrace
from halflife.store.text import query_ids
from halflife.store.trace import Space

DAY = 86_400.0
WORDS = ["apple", "bridge", "candle", "dragon", "engine", "forest", "garden", "harbor", "чай", "水"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
USERS = st.sampled_from(["anna", "bob"])
METADATA = st.dictionaries(
    st.sampled_from(["channel", "x"]), st.one_of(st.integers(-9, 9), TEXTS), min_size=1, max_size=2
)
EMBEDDER = "hash:64"


@dataclass(frozen=True)
class Said:
    """What the dictionary says of one trace."""

    user: str
    text: str
    metadata: str = "{}"
    status: str = "active"
    version: int = 1


@dataclass
class Done:
    """An operation: what it changed, as it was before and after, and what it added."""

    before: dict[str, Said] = field(default_factory=dict)
    after: dict[str, Said] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    undone: bool = False
    undo_of: int | None = None


class MemoryModel(RuleBasedStateMachine):
    """Random uses of a `Memory` beside a dictionary."""

    ids: Bundle[str] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "a.db"
        self.now = 1_700_000_000.0
        self.said: dict[str, Said] = {}
        self.versions: dict[str, list[str]] = {}  # every text a trace ever had, oldest first
        self.done: dict[int, Done] = {}
        self.forgotten: set[str] = set()
        self.memory = self.opened(self.path)

    def opened(self, path: Path) -> Memory:
        return Memory(path, embedder=EMBEDDER, clock=lambda: self.now, synchronous="NORMAL")

    def tick(self) -> None:
        self.now += DAY / 10

    def note(self, done: Done) -> None:
        """Remember the latest operation, whose effects the dictionary has already."""
        done.after = {id: self.said[id] for id in done.before}
        self.done[self.memory.engine.store.last_op()] = done

    def put_back(self, done: Done) -> dict[str, Said]:
        """What would be said if an operation were taken back: fields that it did not change stay as they are."""
        back = {}
        for id, old in done.before.items():
            if id in self.said:
                changed = {f.name: getattr(old, f.name) for f in fields(Said)
                           if getattr(old, f.name) != getattr(done.after[id], f.name)}  # fmt: skip
                back[id] = replace(self.said[id], **changed)
        return back

    def same(self, user: str, text: str, besides: str = "") -> str | None:
        for id, said in self.said.items():
            if id != besides and (said.user, said.text) == (user, text) and said.status != "retired":
                return id
        return None

    def written(self, user: str, texts: list[str], added: Any) -> Any:
        done = Done()
        for text, result in zip(texts, added, strict=True):
            known = self.same(user, text)
            assert (result.event, result.id) == (("met", known) if known else ("add", result.id))
            if known is None:
                self.said[result.id] = Said(user, text)
                self.versions[result.id] = [text]
                done.created.append(result.id)
            elif self.said[known].status == "archived":
                done.before[known] = self.said[known]
                self.said[known] = replace(self.said[known], status="active")
        self.note(done)
        return multiple(*done.created)

    @rule(target=ids, user=USERS, text=TEXTS)
    def add(self, user: str, text: str) -> Any:
        self.tick()
        return self.written(user, [text], self.memory.add(text, user_id=user))

    @rule(target=ids, user=USERS, texts=st.lists(TEXTS, min_size=1, max_size=5))
    def add_many(self, user: str, texts: list[str]) -> Any:
        self.tick()
        return self.written(user, texts, self.memory.add_many(texts, user_id=user))

    @rule(id=ids, text=TEXTS)
    def update(self, id: str, text: str) -> None:
        self.tick()
        said = self.said.get(id)
        if said is None:
            with pytest.raises(UnknownTrace):
                self.memory.update(id, text=text)
        elif said.status != "retired" and self.same(said.user, text, besides=id):
            with pytest.raises(InvalidInput):
                self.memory.update(id, text=text)
        else:
            self.memory.update(id, text=text)
            self.said[id] = replace(said, text=text, version=said.version + 1)
            self.note(Done({id: said}))
            self.versions[id].append(text)

    @rule(id=ids, metadata=METADATA)
    def annotate(self, id: str, metadata: dict[str, Any]) -> None:
        self.tick()
        said = self.said.get(id)
        if said is not None:
            trace = self.memory.update(id, metadata=metadata)
            assert trace.metadata == metadata
            self.said[id] = replace(said, metadata=repr(trace.metadata), version=said.version + 1)
            self.note(Done({id: said}))

    @rule(id=ids)
    def archive(self, id: str) -> None:
        self.tick()
        said = self.said.get(id)
        if said is None or (said.status == "retired" and self.same(said.user, said.text, id)):
            with pytest.raises((UnknownTrace, InvalidInput)):
                self.memory.archive(id)
            return
        self.memory.archive(id)
        self.said[id] = replace(said, status="archived")
        self.note(Done({id: said}))

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        self.tick()
        op = data.draw(st.sampled_from(sorted(self.done)))
        done = self.done[op]
        mine = {*done.before, *done.created} & self.said.keys()
        later = [d for o, d in self.done.items() if o > op and not d.undone and d.undo_of is None]
        back = self.put_back(done)
        clash = any(old.status != "retired" and self.same(old.user, old.text, id) for id, old in back.items())
        if done.undone or any(d.before.keys() & mine for d in later) or clash:
            with pytest.raises((NothingToUndo, InvalidInput)):
                self.memory.undo(op)
            return
        changed = {**back, **{id: self.said[id] for id in done.created if self.said.get(id, _NONE).status != "retired"}}
        before = {id: self.said[id] for id in changed}
        assert self.memory.undo(op).kind == "undo"
        self.done[op].undone = True
        self.said |= back
        for id in changed.keys() - back.keys():
            self.said[id] = replace(self.said[id], status="retired")
        if done.undo_of is not None:
            self.done[done.undo_of].undone = False
        self.note(Done(before, undo_of=op))

    @rule(id=consumes(ids))
    def forget(self, id: str) -> None:
        self.tick()
        if id in self.said:
            text = self.said.pop(id).text
            report = self.memory.forget(id)
            assert report.verified
            assert report.count == 1
            self.forgotten.add(id)
            assert text  # the history of what is gone is gone with it
            with pytest.raises(UnknownTrace):
                self.memory.history(id)

    @rule(text=TEXTS, user=USERS)
    def search(self, text: str, user: str) -> None:
        """Found are exactly the memories that match by words or by meaning; the ranking is that of brute force."""
        active = {id: said for id, said in self.said.items() if (said.user, said.status) == (user, "active")}
        hits = self.memory.engine.search(Space.of(user), text, 100, collapse=False)
        assert {hit.id for hit in hits} <= active.keys()
        terms = set(query_ids(text).tolist())
        sharing = {id for id, said in active.items() if terms & set(query_ids(said.text).tolist())}
        assert sharing <= {hit.id for hit in hits}
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        vector = self.memory.engine.embedder.embed([text])[0]
        for hit in hits:
            [mine] = self.memory.engine.embedder.embed([active[hit.id].text])
            assert hit.trace.text == active[hit.id].text
            why = hit.explain()
            meant = self.memory.engine.weights.semantic * max(float(mine @ vector), 0.0)
            assert why.parts["semantic"] == pytest.approx(meant, abs=1e-3)
            assert hit.retention == pytest.approx(self.memory.retention(hit.trace))
            assert hit.score == why.score

    @rule(user=USERS)
    def recall(self, user: str) -> None:
        self.tick()
        self.memory.search("garden harbor", user_id=user, k=3)

    @rule()
    def sleep(self) -> None:
        """Sleep forgets nothing, changes no text, and can be taken back."""
        self.tick()
        report = self.memory.consolidate(policy=Policy(archive_below=0.0, merge_at=2.0, promote_after=(10**6, 10**6)))
        assert (report.merged, report.archived, report.promoted) == ([], [], [])

    @rule()
    def reopen(self) -> None:
        self.memory.close()
        self.memory = self.opened(self.path)

    @rule()
    def move(self) -> None:
        """An export read into an empty memory says the same, and read again changes nothing."""
        lines = list(self.memory.export())
        with Memory(embedder=EMBEDDER, clock=lambda: self.now) as other:
            other.import_lines(lines)
            assert stated(other) == self.said
            assert other.import_lines(lines).added == 0
            assert sorted(_plain(other.export())) == sorted(_plain(lines))

    @rule()
    def backup(self) -> None:
        copy = Path(self.folder.name) / "copy.db"
        self.memory.backup(copy)
        with self.opened(copy) as other:
            assert stated(other) == self.said
        copy.unlink()

    @invariant()
    def says_what_the_dictionary_says(self) -> None:
        assert stated(self.memory) == self.said
        erased = self.memory.engine.store.db.all("SELECT id FROM erased")
        assert {id for (id,) in erased} == self.forgotten

    @invariant()
    def history_holds_every_version(self) -> None:
        for id in list(self.said)[-3:]:
            events = self.memory.history(id)
            assert events[0].kind == "add"
            older = [event.before["text"] for event in events if event.kind == "update" and "text" in event.before]
            undone = any(event.kind == "undo" for event in events)
            assert undone or [*older, self.said[id].text] == self.versions[id]

    def teardown(self) -> None:
        found = self.memory.doctor()
        self.memory.close()
        self.folder.cleanup()
        assert found.healthy, str(found)


_NONE = Said("", "", status="retired")


def _plain(lines: Iterable[str]) -> Iterator[str]:
    """The lines of an export after its header, in which the ends of a link may stand either way round."""
    for line in list(lines)[1:]:
        value = json.loads(line)
        if "link" in value:
            value["link"][:2] = sorted(value["link"][:2])
        yield json.dumps(value, sort_keys=True)


def stated(memory: Memory) -> dict[str, Said]:
    """What a memory says, as the dictionary would."""
    return {
        t.id: Said(t.space.name.removeprefix("user:"), t.text, repr(t.metadata), t.status, t.version)
        for t in memory.engine.store.iterate()
    }


TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = settings(max_examples=15, stateful_step_count=25)
