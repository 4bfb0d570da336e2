"""`Memory`: what a user opens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent import consolidate as sleep
from halflife.agent import transfer
from halflife.agent.context import Context, pack
from halflife.agent.derived import DERIVED, erase_stale
from halflife.agent.engine import Clock, Engine, Progress, reembed_store
from halflife.agent.forget import ForgetPlan, plan_forget
from halflife.agent.hit import Hit
from halflife.agent.items import Content, Item, as_items, drafts
from halflife.agent.redact import Redact, Redactor
from halflife.agent.system import system as open_system
from halflife.decay import FSRS6, Law, law_from_dict
from halflife.errors import InvalidInput, UnknownSpace
from halflife.llm.resolve import chat_model
from halflife.llm.resolve import embedder as resolve_embedder
from halflife.store import doctor, encryption
from halflife.store.connection import MEMORY
from halflife.store.draft import check_content
from halflife.store.erase import ErasureReport, joined
from halflife.store.erase import erase as erase_traces
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Event, Why
from halflife.store.recall import Weights
from halflife.store.sqlite import SqliteStore
from halflife.store.timeparse import parse_time
from halflife.store.trace import Space, Status, Trace

if TYPE_CHECKING:
    from halflife.agent.aio import AsyncMemory
    from halflife.llm.chat import ChatModel
    from halflife.llm.embedder import Embedder

Time: TypeAlias = str | float | datetime
Traces: TypeAlias = list[Trace]  # `Memory.list` hides the built-in name inside the class
Events: TypeAlias = list[Event]
Spaces: TypeAlias = list[tuple[Space, int]]
ACTIVE: tuple[Status, ...] = ("active",)
_SAID = ("text", "metadata")  # what may hold a secret; ids, roles and layers are names


class Memory:
    """A durable, fading, explainable long-term memory.

    Parameters
    ----------
    path: a file, made if missing; None for a memory that lives in the process.
    embedder: None for all-MiniLM-L6-v2, or a name (`"hash"`, `"openai:text-embedding-3-small"`), an `Embedder`, or
        a function from a list of texts to vectors.
    law: how memories fade; None for FSRS-6, or what the store was made with.
    clock: the present, in seconds since the epoch.
    weights: what each part of relevance counts.
    system: a published memory system (`halflife.agent.system.SYSTEMS`), with its `options`; None for the engine's own.
    llm: a language model for what the system leaves to one: a name (`"openai:gpt-4o-mini"`, `"local"`), a `ChatModel`,
        or a function from a prompt to a text. None: no model is ever asked.
    timeout: seconds to wait while another process writes.
    synchronous: `"FULL"` (a memory survives power loss once `add` returns) or `"NORMAL"`.
    must_exist: refuse to make a new file.
    actor: who writes, for the history.
    key: encrypts the file (extra `encryption`): a passphrase, or 32 bytes. The same key opens it again.
    redact: keeps secrets out of what is written: `"secrets"` (extra `redact`) for keys, passwords, card numbers and
        email addresses, or a function from text to text. None keeps what is said as it is.

    Examples
    --------
    >>> memory = Memory(embedder="hash")
    >>> [added] = memory.add("I moved to Lisbon in May.", user_id="anna", at="2026-05-20")
    >>> [hit] = memory.search("Lisbon", user_id="anna")
    >>> hit.text, str(hit.at.date())
    ('I moved to Lisbon in May.', '2026-05-20')
    >>> memory.forget(user_id="anna", about="Lisbon").count
    1
    >>> memory.close()
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        embedder: str | Embedder | Callable[[Sequence[str]], Any] | None = None,
        law: Law | None = None,
        clock: Clock = time.time,
        weights: Weights | None = None,
        system: str | None = None,
        options: Mapping[str, Any] | None = None,
        llm: str | ChatModel | Callable[[str], str] | None = None,
        timeout: float = 30.0,
        synchronous: str = "FULL",
        must_exist: bool = False,
        actor: str = "",
        key: str | bytes | None = None,
        redact: Redact | None = None,
    ) -> None:
        redactor = None if redact is None else Redactor(redact)
        store = SqliteStore(
            path or MEMORY, law=law or FSRS6(), timeout=timeout, synchronous=synchronous, must_exist=must_exist, key=key
        )
        try:
            store.law = _agreed_law(store, law)
            self.engine = Engine(store, resolve_embedder(embedder), clock, weights, redactor, chat_model(llm))
            self.system = open_system(system, self.engine, **(options or {})) if system else None
        except BaseException:
            store.close()
            raise
        self.actor = actor

    # -- writing ----------------------------------------------------------------------------------------------

    def add(
        self,
        content: Content,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        at: Time | None = None,
        role: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        importance: float | None = None,
        layer: str | None = None,
        valid_from: Time | None = None,
        valid_to: Time | None = None,
        vector: Sequence[float] | NDArray[np.floating] | None = None,
        reason: str = "",
    ) -> list[Added]:
        """Remember a text, a message, or a list of messages, in one transaction; safe on disk when it returns.

        What was said before is met again: reinforced, not stored twice (`event == "met"`). `at` is when it was
        said (ISO 8601, seconds or datetime; now by default). Raises `InvalidInput` and stores nothing if any
        part is invalid.
        """
        shared = locals()
        names = (
            "agent_id",
            "session_id",
            "at",
            "role",
            "metadata",
            "importance",
            "layer",
            "valid_from",
            "valid_to",
            "vector",
        )
        defaults = {name: shared[name] for name in names if shared[name] is not None}
        items = as_items(content)
        if vector is not None and len(items) > 1:
            raise InvalidInput("One vector was given for several messages.", "Put a 'vector' into each message.")
        return self._add(items, user_id, agent_id, defaults, reason, None)

    def add_many(
        self,
        items: Iterable[Item],
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        reason: str = "",
    ) -> list[Added]:
        """Remember thousands of items in one transaction.

        An item is a text or a mapping with `text` (or `content`) and any of `at`, `role`, `session_id`, `agent_id`,
        `metadata`, `importance`, `layer`, `vector`. `progress(done, total)` is called while they are embedded.
        """
        defaults = {"agent_id": agent_id, "session_id": session_id, "metadata": metadata}
        given = {name: value for name, value in defaults.items() if value is not None}
        return self._add(list(items), user_id, agent_id, given, reason, progress)

    def _add(
        self,
        items: Sequence[Item],
        user_id: str | None,
        agent_id: str | None,
        defaults: Mapping[str, Any],
        reason: str,
        progress: Progress | None,
    ) -> list[Added]:
        now = self.engine.clock()
        made = drafts(items, defaults, now, self.engine.units)
        if self.system is not None:
            return self.system.write(Space.of(user_id, agent_id), made, now)
        return self.engine.write(Space.of(user_id, agent_id), made, self._why("add", reason), now, progress)

    def update(
        self,
        id: str,
        *,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        at: Time | None = None,
        importance: float | None = None,
        layer: str | None = None,
        valid_from: Time | None = None,
        valid_to: Time | None = None,
        reason: str = "",
    ) -> Trace:
        """Make a new version of a memory; the old one stays in its history, and `undo` brings it back."""
        changes: dict[str, Any] = {"text": text, "metadata": metadata, "importance": importance, "layer": layer}
        changes |= {k: None if v is None else parse_time(v) for k, v in
                    {"at": at, "valid_from": valid_from, "valid_to": valid_to}.items()}  # fmt: skip
        changes = {name: value for name, value in changes.items() if value is not None}
        if not changes:
            raise InvalidInput("There is nothing to change.", "Give a new text, time, metadata, importance or layer.")
        vectors = None
        if self.engine.redactor is not None:
            changes |= self.engine.redactor.value({name: changes[name] for name in _SAID if name in changes})[0]
            text = changes.get("text")
        if text is not None:
            check_content(text)
            [vectors] = self.engine.embed([text])
        return self.engine.store.update(id, changes, vectors, self._why("update", reason), self.engine.clock())

    def archive(self, ids: str | Sequence[str], reason: str = "") -> int:
        """Take memories out of recall without forgetting them. Returns the operation, which `undo` takes back."""
        ids = [ids] if isinstance(ids, str) else list(ids)
        return self.engine.store.set_status(ids, "archived", self._why("archive", reason), self.engine.clock())

    def link(self, a: str, b: str, weight: float = 1.0, kind: str = "related") -> int:
        """Link two memories of a space: a match of one lends relevance to the other."""
        if not 0.0 < weight <= 1.0:
            raise InvalidInput(f"The weight of a link must lie in (0, 1], not {weight!r}.")
        return self.engine.store.link([(a, b, weight)], kind, self._why("link"), self.engine.clock())

    # -- recall -----------------------------------------------------------------------------------------------

    def search(
        self,
        query: str | None = None,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        k: int = 10,
        since: Time | None = None,
        until: Time | None = None,
        vector: Sequence[float] | NDArray[np.floating] | None = None,
        now: Time | None = None,
        reinforce: bool = True,
        archived: bool = False,
    ) -> list[Hit]:
        """The k memories that matter most for a query, best first, each with its reasons (`hit.explain()`).

        Finds by meaning, by words, by a time named in the query ("last May"), and by what stood next to a match.
        What is returned is reinforced, unless `reinforce=False`. A user of whom nothing is known has no hits.

        Parameters
        ----------
        query: a question or words; may be left out if `vector` is given.
        user_id, agent_id: whose memory. session_id: only this session.
        filters: conditions on fields and metadata, `{"channel": {"in": ["chat", "mail"]}}`; may hold the ids.
        since, until: only what was said from `since` on and before `until`.
        now: the moment of asking, for fading and for words such as "yesterday".
        archived: look among archived memories too.
        """
        if k < 1:
            raise InvalidInput(f"k must be at least 1, not {k}.")
        if query is None and vector is None:
            raise InvalidInput("There is nothing to search for.", "Give a query or a vector.")
        if query is not None:
            check_content(query)
        space, where = self._scope(user_id, agent_id, session_id, filters, since, until)
        moment = self.engine.clock() if now is None else parse_time(now)
        if self.system is not None and query is not None:
            return self.system.recall(space, query, k, moment, where=where, reinforce=reinforce)
        statuses: tuple[Status, ...] = ("active", "archived") if archived else ACTIVE
        hits = self.engine.search(
            space, query, k, vector=None if vector is None else self.engine.unit(vector), where=where, now=moment,
            statuses=statuses,
        )  # fmt: skip
        if reinforce and hits:
            self.engine.store.reinforce([hit.id for hit in hits], moment, why=self._why("recall"))
        return hits

    def context(
        self,
        query: str,
        *,
        budget: int = 1500,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        k: int = 50,
        now: Time | None = None,
        reinforce: bool = True,
    ) -> Context:
        """What is worth knowing for a query, as text of at most `budget` tokens, oldest first, with dates.

        Only what made it into the text is reinforced.
        """
        if budget < 1:
            raise InvalidInput(f"The budget must be at least 1 token, not {budget}.")
        hits = self.search(
            query,
            user_id=user_id,
            agent_id=agent_id,
            session_id=session_id,
            filters=filters,
            k=k,
            now=now,
            reinforce=False,
        )
        packed = pack(hits, budget, self.engine.embedder.count_tokens)
        if reinforce and packed.hits:
            moment = self.engine.clock() if now is None else parse_time(now)
            self.engine.store.reinforce([hit.id for hit in packed.hits], moment, why=self._why("recall"))
        return packed

    def get(self, id: str) -> Trace:
        """One memory. Raises `UnknownTrace`."""
        return self.engine.store.get([id])[0]

    def list(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> Traces:
        """Memories of a space, newest first; archived ones too. Raises `UnknownSpace`."""
        space, where = self._scope(user_id, agent_id, session_id, filters, since, until)
        self._known(space)
        return self.engine.store.find(space, where, limit=limit, offset=offset)

    def retention(self, trace: Trace, now: Time | None = None) -> float:
        """How much is left of a memory, in [0, 1]."""
        moment = self.engine.clock() if now is None else parse_time(now)
        return self.engine.retention([trace], moment)[0]

    # -- consolidation, history, forgetting -------------------------------------------------------------------

    def consolidate(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        policy: sleep.Policy | None = None,
        now: Time | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> sleep.SleepReport:
        """The sleep of the memory: merge near-duplicates, archive what has faded, promote what is often met, link.

        Without ids, every space. Each act is an operation in the report, which `undo` takes back.
        """
        space = _named(user_id, agent_id)
        if space is not None:
            self._known(space)
        spaces = [s for s, _ in self.engine.store.spaces()] if space is None else [space]
        moment = self.engine.clock() if now is None else parse_time(now)
        if self.system is not None and not dry_run:
            done = {str(space): self.system.consolidate(space, moment) for space in spaces}
            return sleep.SleepReport(system=done)
        return sleep.consolidate(self.engine, spaces, policy or sleep.Policy(), moment, dry_run, progress)

    def history(self, id: str) -> Events:
        """All that happened to a memory, oldest first."""
        return self.engine.store.history(id)

    def operations(self, *, user_id: str | None = None, agent_id: str | None = None, limit: int = 50) -> Events:
        """The latest operations, newest first; of one user or agent, or of all."""
        return self.engine.store.operations(_named(user_id, agent_id), limit)

    def undo(self, operation: int, reason: str = "") -> Event:
        """Take an operation back: what it changed is as before, what it added is retired. Undoing can be undone."""
        return self.engine.store.undo(operation, self._why("undo", reason), self.engine.clock())

    def plan_forget(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        about: str | None = None,
        threshold: float | None = None,
        everything: bool = False,
    ) -> ForgetPlan:
        """What `forget` with the same arguments would erase, without erasing it."""
        ids = [ids] if isinstance(ids, str) else ids
        space: Space | None
        space, where = self._scope(user_id, agent_id, session_id, filters)
        if ids is not None and space == Space.of():
            space = None  # an id says by itself whose memory it is
        if space is not None:
            self._known(space)
        if ids is None and about is None and where.empty and not everything:
            raise InvalidInput(
                "Nothing says what to forget.", "Give ids, filters, about=..., or everything=True for the whole space."
            )
        return plan_forget(self.engine, space, ids, where, about, threshold)

    def forget(
        self,
        ids: str | Sequence[str] | None = None,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        about: str | None = None,
        threshold: float | None = None,
        everything: bool = False,
        reason: str = "",
    ) -> ErasureReport:
        """Erase memories for good: by id, by filter, by meaning (`about`), or a whole space (`everything=True`).

        No byte of them is left in any file of the store: text, vector, words, versions, and what was derived from
        them alone. The report says what went and how that was checked. This cannot be undone.
        """
        plan = self.plan_forget(
            ids, user_id=user_id, agent_id=agent_id, session_id=session_id, filters=filters, about=about,
            threshold=threshold, everything=everything,
        )  # fmt: skip
        return self.erase(plan, reason)

    def erase(self, plan: ForgetPlan, reason: str = "") -> ErasureReport:
        """Carry out a plan of `plan_forget`."""
        now = self.engine.clock()
        report = erase_traces(self.engine.store, plan.ids, self._why("forget", reason), now)
        later = []
        for name in report.spaces:
            self.engine.drop(Space(name))
            if self.system is not None:
                later += self.system.mend(Space(name), now)
            if report.kept:  # of a system that this memory was not opened with
                later += erase_stale(self.engine, Space(name), DERIVED, self.actor, now)
        return joined(report, later)

    def delete(self, id: str) -> ErasureReport:
        """Forget one memory. Raises `UnknownTrace`."""
        return self.forget(id)

    def delete_all(self, *, user_id: str | None = None, agent_id: str | None = None) -> ErasureReport:
        """Forget all that belongs to a user or to an agent; one of them must be given."""
        if user_id is None and agent_id is None:
            raise InvalidInput("delete_all needs a user_id or an agent_id.", "It never wipes the whole store.")
        return self.forget(user_id=user_id, agent_id=agent_id, everything=True)

    # -- the file ---------------------------------------------------------------------------------------------

    def export(self, *, user_id: str | None = None, agent_id: str | None = None, vectors: bool = True) -> Iterator[str]:
        """Every memory as a line of JSON, with all that `import_lines` needs to restore it exactly."""
        space = _named(user_id, agent_id)
        if space is not None:
            self._known(space)
        return transfer.export_lines(self.engine, space, vectors)

    def import_lines(
        self, lines: Iterable[str], *, user_id: str | None = None, progress: Progress | None = None
    ) -> transfer.ImportReport:
        """Read what `export`, mem0's `get_all` or a chat log wrote, all in one transaction."""
        return transfer.import_lines(self.engine, lines, user_id, self._why("import"), progress)

    def spaces(self) -> Spaces:
        """Whose memories there are, and how many of each are active."""
        return self.engine.store.spaces()

    def stats(self) -> dict[str, Any]:
        """Counts, sizes, and settings of the store, and what language models were asked, as plain data."""
        usage = {purpose: asdict(used) for purpose, used in self.engine.meter.usage().items()}
        return {**doctor.stats(self.engine.store), "llm": usage}

    def doctor(self, repair: bool = False) -> doctor.Diagnosis:
        """Check the store; with `repair`, mend what can be mended."""
        return doctor.examine(self.engine.store, repair)

    @staticmethod
    def reembed(
        path: str | Path,
        embedder: str | Embedder | Callable[[Sequence[str]], Any] | None = None,
        progress: Progress | None = None,
        key: str | bytes | None = None,
    ) -> int:
        """Give a store another embedder: every vector is made anew, in one transaction. Returns how many texts.

        `progress(done, total)` counts texts.
        """
        with SqliteStore(path, law=FSRS6(), must_exist=True, key=key) as store:
            return reembed_store(store, resolve_embedder(embedder), progress)

    @staticmethod
    def rekey(
        path: str | Path, target: str | Path, *, key: str | bytes | None = None, new_key: str | bytes | None = None
    ) -> None:
        """Copy a memory to a new file under another key; None is no encryption. Close it before.

        The old file stays as it is, readable as before: delete it when the copy is good.
        """
        with SqliteStore(path, law=FSRS6(), must_exist=True, key=key):
            pass  # refuses what is no store of ours
        encryption.recode(path, target, key, new_key)

    def backup(self, target: str | Path) -> None:
        """Copy the memory to a new file while it is in use, under the same key if it has one."""
        self.engine.store.backup(target)

    @property
    def aio(self) -> AsyncMemory:
        """The same methods, awaitable: `await memory.aio.search(...)`."""
        from halflife.agent.aio import AsyncMemory

        return AsyncMemory(self)

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self.engine.close()

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- helpers ----------------------------------------------------------------------------------------------

    def _why(self, kind: str, reason: str = "") -> Why:
        if reason and self.engine.redactor is not None:
            reason, _ = self.engine.redactor.text(reason)
        return Why(kind, self.actor, reason)

    def _known(self, space: Space) -> None:
        if self.engine.store.space_id(space) is None:
            # Whose memories there are instead is not said: the message may reach another user.
            raise UnknownSpace(f"Nothing was ever remembered for {space}.", "halflife stats shows whose there are.")

    def _scope(
        self,
        user_id: str | None,
        agent_id: str | None,
        session_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
    ) -> tuple[Space, Filter]:
        """The space, and the filter within it, from ids given as arguments or inside `filters`."""
        rest = dict(filters or {})
        inside = {name: rest.pop(name) for name in ("user_id", "agent_id") if isinstance(rest.get(name), str)}
        for name, given in (("user_id", user_id), ("agent_id", agent_id)):
            if given is not None and inside.get(name, given) != given:
                raise InvalidInput(f"{name} is {given!r} as an argument and {inside[name]!r} in filters.")
        user_id = inside.get("user_id") if user_id is None else user_id
        agent_id = inside.get("agent_id") if agent_id is None else agent_id
        space = Space.of(user_id, agent_id)
        where = parse(rest) if rest else ALL
        if session_id is not None:
            where = where & parse({"session_id": session_id})
        if user_id is not None and agent_id is not None:
            where = where & parse({"agent_id": agent_id})
        period = {name: value for name, value in (("gte", since), ("lt", until)) if value is not None}
        return space, where & parse({"at": period}) if period else where


def _named(user_id: str | None, agent_id: str | None) -> Space | None:
    """The space of a user or agent; None if neither is given. An empty id is an error, not nobody."""
    return None if user_id is None and agent_id is None else Space.of(user_id, agent_id)


def _agreed_law(store: SqliteStore, law: Law | None) -> Law:
    """The law that the store was made with; a law given explicitly replaces it for this and later openings."""
    known = store.meta("law")
    if law is None and known is not None:
        return law_from_dict(json.loads(known))
    law = law or FSRS6()
    text = json.dumps(law.to_dict(), sort_keys=True)
    if text != known:
        store.set_meta("law", text)
    return law
