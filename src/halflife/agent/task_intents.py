"""Reading turns by rule: cue words, the patterns of requests, and a lexicon that grows with the graph.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436 (its decomposition and
TRIM). No word of any domain is wired in: slots take their names from labels ("date: ...") and from what was said, and
values are told apart by form (a time of day, a day, a number, a name).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TypeAlias

from halflife.agent.task_forest import Forest
from halflife.agent.task_match import NEAR, Lexicon, without_preposition
from halflife.agent.task_nodes import Node, same
from halflife.agent.task_ops import Op, apply
from halflife.agent.task_parts import Parts
from halflife.agent.task_patterns import (
    BEFORE,
    CLAIMED,
    DID_REMOVE,
    EVER_IN,
    EVERYTHING,
    EVERYWHERE,
    FIRST_PERSON,
    INSTEAD,
    IS,
    IT,
    NEVER,
    NO_VALUE,
    PART,
    PATTERNS,
    STEP,
    STEPS,
    TO,
)
from halflife.agent.task_words import (
    ASKS,
    AUXILIARY,
    POLITE,
    TYPED,
    bare,
    kind_of,
    listed,
    noun,
    phrases,
    things,
)
from halflife.agent.thoughts import entity
from halflife.errors import InvalidInput, UnknownTrace
from halflife.llm.embedder import Embedder


class RuleIntents:
    """Intents by rule: the same result every time, no model but (if given) an embedder for names that share no word.

    Parameters
    ----------
    embedder: tells which slot is meant where words do not. near: the cosine from which it is believed.

    >>> from halflife.agent.task_parts import RuleDecomposer
    >>> forest = Forest()
    >>> for said in ("date: It is June 10.", "date: Move it to June 15.", "Was the date June 10?"):
    ...     for op in RuleIntents().read(RuleDecomposer().split(said), forest):
    ...         print(op, apply(forest, op).changed)
    new date = June 10 ('date',)
    set date = June 15 ('date',)
    check date = June 10 ()
    """

    def __init__(self, embedder: Embedder | None = None, near: float = NEAR) -> None:
        self.embedder, self.near = embedder, near

    def read(self, parts: Parts, forest: Forest) -> list[Op]:
        """The operations of a turn."""
        view, found = forest.copy(), list[Op]()
        reading = _Reading(Lexicon(view, self.embedder, self.near), parts.label)
        for clause in parts.clauses:
            for op in reading.clause(clause, bool(found)):
                found.append(op)
                with suppress(InvalidInput, UnknownTrace):  # who carries it out says so
                    apply(view, op)
        return found


class _Reading:
    """One turn being read, clause by clause, on a copy of the graph that follows."""

    def __init__(self, lexicon: Lexicon, label: str) -> None:
        self.lexicon, self.forest, self.label = lexicon, lexicon.forest, label
        self.missing: Node | None = None
        self.said = ""

    def clause(self, text: str, further: bool = False) -> list[Op]:
        """The operations of a clause, by the first pattern that fits and yields any. `further`: it is not the first."""
        self.said, words = text, bare(text)
        question = text.rstrip().endswith("?")
        if found := NEVER.match(words):
            return self.never(found)
        if question and AUXILIARY.match(words):
            return self.check(words)
        if ASKS.match(words):
            return self.ask(words)
        asked = POLITE.sub("", words)
        for name, pattern in PATTERNS:
            if (match := pattern.match(asked)) and (ops := _ACTS[name](self, match)):
                return ops
        if question:
            return [] if further and not self.lexicon.mentioned(words) else self.ask(words)
        if self.label:
            return self.labelled(words, asked)
        return self.statement(asked)

    # -- what changes nothing ---------------------------------------------------------------------------------

    def ask(self, words: str) -> list[Op]:
        nodes = self.lexicon.mentioned(words)
        task = self.lexicon.task
        return [Op("ask", self.at(node)) for node in nodes] or [Op("ask", self.at(task) if task else "")]

    def never(self, match: re.Match[str]) -> list[Op]:
        return [Op("check", noun(match["what"]), parent=self.name_of(match["task"]), about="never")]

    def check(self, words: str) -> list[Op]:
        if match := DID_REMOVE.match(words):
            task = match["task"] and self.name_of(match["task"])
            return [Op("check", noun(match["what"]), parent=task or None, about="removed")]
        if match := EVER_IN.match(words):
            return [Op("check", noun(match["what"]), parent=self.name_of(match["task"]))]
        rest = CLAIMED.sub("", AUXILIARY.sub("", words).strip())
        node = self.known_label() or next(iter(self.lexicon.mentioned(words)), None)
        if node is not None:
            rest = re.split(rf"(?<!\w){re.escape(node.slot)}(?!\w)", rest, maxsplit=1, flags=re.I)[-1]
        said = phrases(rest)
        value = said[-1][1] if said else noun(rest) or words
        if node is None and not self.label:
            node = self.lexicon.owner(*said[-1]) if said else self.lexicon.holding(value)
        return [Op("check", self.at(node) if node else self.label or value, value)]

    # -- tasks and things -------------------------------------------------------------------------------------

    def steps(self, match: re.Match[str]) -> list[Op]:
        """ "To make X, do this and that": a slot an object, with what is done to it."""
        chunks, held = list[str](), ""
        for chunk in listed(match["steps"]):
            held = f"{held} and {chunk}" if held else chunk
            if " " in chunk:
                chunks.append(held)
                held = ""
        ops: list[Op] = []
        for chunk in [*chunks, *([held] if held else [])]:
            if step := STEP.match(chunk):
                ops += self.put(noun(step["object"]), step["verbs"], self.name_of(match["task"]))
        return ops

    def task(self, match: re.Match[str]) -> list[Op]:
        """ "Plan an X on DAY at TIME with NAMES": a task, with a slot for each value that has a form of its own."""
        if self.label:
            return []
        name = noun(match["task"])
        ops = [Op("new", name)]
        for preposition, value in phrases(match["rest"] or ""):
            kind = kind_of(value)
            if kind in ("time", "day"):
                ops.append(Op("new", kind, value, name, cue=preposition))
            elif kind == "name" and preposition != "as":
                ops.append(Op("new", preposition, value, name, cue=preposition))
        return ops

    def add(self, match: re.Match[str]) -> list[Op]:
        target = match["target"]
        if target is None and entity(match["verb"]) == "use" and INSTEAD.search(self.said):
            return self.instead(match["list"])
        if target is None and self.label:
            return []
        task = self.name_of(target) if target else self.in_focus()
        verb = match["verb"].lower()
        found = things(match["list"])
        return [op for thing, n in found for op in self.put(thing, verb if verb == "use" else str(n), task)]

    def instead(self, what: str) -> list[Op]:
        """ "Use Y instead": in the place of what was said to be missing, or of the value in focus."""
        if self.missing is not None:
            return [Op("replace", self.missing.slot, new_slot=noun(what))]
        node = self.known_label() or self.lexicon.of_kind(noun(what))
        return [Op("set", self.at(node), noun(what))] if node else []

    def lacking(self, match: re.Match[str]) -> list[Op]:
        self.missing = self.lexicon.slot(match["what"])
        return []

    def remove(self, match: re.Match[str]) -> list[Op]:
        within = self.lexicon.slot(match["target"]) if match["target"] else None
        if entity(noun(match["list"])) in EVERYTHING:
            task = within or self.lexicon.task
            return [Op("remove", self.at(node)) for node in (self.lexicon.parts(task) if task else [])]
        nodes = [(thing, self.lexicon.slot(thing, within)) for thing in map(noun, listed(match["list"]))]
        if not any(node for _, node in nodes) and (node := self.known_label()):
            return [Op("remove", self.at(node))]
        return [Op("remove", self.at(node) if node else thing) for thing, node in nodes]

    def keep(self, match: re.Match[str]) -> list[Op]:
        nodes = [self.lexicon.slot(thing, removed=True) for thing in listed(match["list"])]
        return [Op("revert", self.at(node)) for node in nodes if node is not None and node.removed]

    def only(self, match: re.Match[str]) -> list[Op]:
        """ "Reset it to just A and B": the others go, and A and B come back if they were taken out."""
        task = self.lexicon.slot(match.groupdict().get("what") or "") or self.lexicon.task
        if task is None:
            return []
        wanted = [self.lexicon.slot(thing, task, removed=True) for thing in listed(match["list"])]
        ids = {node.id for node in wanted if node}
        ops = [Op("remove", self.at(node)) for node in self.lexicon.parts(task) if node.id not in ids]
        ops += [Op("revert", self.at(node)) for node in wanted if node is not None and node.removed]
        new = [thing for thing, node in zip(listed(match["list"]), wanted, strict=True) if node is None]
        ops += [op for thing, n in things(", ".join(new)) for op in self.put(thing, str(n), self.at(task))]
        return ops or [Op("ask", self.at(task))]

    def replace(self, match: re.Match[str]) -> list[Op]:
        old, new = noun(match["old"]), noun(match["new"])
        if node := self.lexicon.slot(old):
            return [Op("replace", node.slot, new_slot=new)]
        holder = self.lexicon.holding(old, former=False)
        return [Op("set", self.at(holder), new)] if holder else []

    # -- values -----------------------------------------------------------------------------------------------

    def set(self, match: re.Match[str]) -> list[Op]:
        what, value = noun(match["what"]), noun(match["value"])
        everywhere = bool(EVERYWHERE.search(value))
        value = EVERYWHERE.sub("", value).strip()
        if entity(what) in EVERYTHING:
            return [Op("set", self.at(node), value) for node in self.alike(value)]
        node = self.known_label() or self.lexicon.slot(what, by_words=bool(self.label))
        if node is None and self.label:
            return [Op("new", self.label, value, self.in_focus())]
        if node is None and entity(what) in IT:
            node = self.lexicon.of_kind(value)
        if node is not None:
            return [Op("set", self.at(node), value, everywhere=everywhere)]
        return [Op("set", what, value, self.in_focus())] if entity(what) not in IT else []

    def single(self, match: re.Match[str]) -> list[Op]:
        """ "Make it a single 3 PM ...": parts become one again, with the value that has a form."""
        typed = TYPED.search(match["value"])
        parts = [node for node in self.forest.live() if PART.match(node.slot) and node.parent]
        if typed is None or not parts:
            return []
        whole = self.forest.nodes[str(parts[-1].parent)]
        ops = [Op("remove", self.at(node)) for node in parts if node.parent == whole.id]
        return [*ops, Op("set", self.at(whole), typed[0])]

    def split(self, match: re.Match[str]) -> list[Op]:
        """ "Split it into parts: A, B": what was one value becomes a slot for each part."""
        whole = self.known_label() or self.lexicon.slot(match["what"]) or self.forest.focus()
        if whole is None:
            return []
        parts = [Op("new", f"part {i}", part, self.at(whole)) for i, part in enumerate(listed(match["list"]), start=1)]
        return [Op("remove", self.at(whole)), *parts]

    def revert(self, match: re.Match[str]) -> list[Op]:
        rest = match["rest"] or ""
        steps = STEPS.search(rest)
        to = None if steps else TO.match(rest)
        value = noun(to["value"]) if to and not BEFORE.match(to["value"]) else None
        named = self.lexicon.slot(match["what"] or "") or next(iter(self.lexicon.mentioned(rest, removed=True)), None)
        node = self.known_label() or named or (self.lexicon.holding(value) if value else None) or self.forest.focus()
        if node is None:
            return []
        if value is not None and not any(same(old.value, value) for old in node.former):
            return [Op("set", self.at(node), value)] if value and node.slot != value else []
        number = int({"one": 1, "two": 2, "three": 3}.get(steps["n"].lower(), steps["n"])) if steps else 1
        return [Op("revert", self.at(node), value, steps=number)]

    def labelled(self, words: str, asked: str) -> list[Op]:
        """ "slot: what is said of it". A request that names values of other slots needs these, and may conflict."""
        said, statement = phrases(words), bool(FIRST_PERSON.match(words))
        node, parent = self.known_label(), self.in_focus()
        if not statement and (owners := [(p, v, o) for p, v in said if (o := self.lexicon.owner(p, v))]):
            others = [(value, other) for _, value, other in owners if node is None or other.id != node.id]
            wrong = [(value, other) for value, other in others if other.value is None or not same(other.value, value)]
            needs = tuple(dict.fromkeys(self.at(other) for _, other in others))
            if needs:
                value = None if wrong else self.request(asked)
                made = Op("new", self.at(node) if node else self.label, value, None if node else parent, needs=needs)
                return [made, *(Op("conflict", self.at(other), value) for value, other in wrong)]
        cue, value = "", self.request(asked)
        if is_it := IS.match(words):
            value = without_preposition(noun(is_it["value"]))
        elif statement and said:
            cue, value = said[-1]
        return [Op("new", self.at(node) if node else self.label, value or None, None if node else parent, cue=cue)]

    def request(self, asked: str) -> str | None:
        """What a request says of its slot: all after its name, or all if it does not name it."""
        name = re.search(rf"(?<!\w){re.escape(self.label)}(?:s|es)?(?!\w)", asked, re.I)
        return asked[name.end() :].strip(" ,") or None if name else noun(asked)

    def statement(self, asked: str) -> list[Op]:
        match = IS.match(asked)
        if not match or NO_VALUE.match(match["value"]):
            return []
        node = self.lexicon.slot(match["slot"])
        known = node is not None and entity(node.slot) == entity(noun(match["slot"]))
        if known and node is not None:
            return [Op("set", self.at(node), noun(match["value"]))]
        return [Op("new", noun(match["slot"]), noun(match["value"]), self.in_focus())] if match["whose"] else []

    # -- helpers ----------------------------------------------------------------------------------------------

    def at(self, node: Node) -> str:
        return self.forest.address(node)

    def in_focus(self) -> str | None:
        """The task in focus, as the parent of a new slot: one that has slots of its own, or no value."""
        task = self.lexicon.task
        return self.at(task) if task is not None and task.value is None else None

    def known_label(self) -> Node | None:
        return self.lexicon.named(self.label) if self.label else None

    def name_of(self, phrase: str) -> str:
        """The address of a slot that is known, or the phrase as the name of a new one."""
        node = self.lexicon.slot(phrase)
        return self.at(node) if node else noun(phrase)

    def put(self, thing: str, value: str, task: str | None) -> Iterator[Op]:
        """A thing of a task, sharing with the same thing of another."""
        yield Op("new", thing, value, task)
        address = f"{task}/{thing}" if task else thing
        for other in self.forest.named(thing):
            if self.at(other) != address and task:
                yield Op("share", address, new_slot=self.at(other))
                break

    def alike(self, value: str) -> list[Node]:
        """The slots of the task in focus that hold a value of the same kind."""
        task, kind = self.lexicon.task, kind_of(value)
        nodes = self.lexicon.parts(task) if task else []
        return [node for node in nodes if node.value is not None and kind_of(node.value) == kind]


_Act: TypeAlias = Callable[[_Reading, "re.Match[str]"], list[Op]]
_ACTS: dict[str, _Act] = {
    "steps": _Reading.steps, "lacking": _Reading.lacking, "only": _Reading.only, "keep": _Reading.keep,
    "revert": _Reading.revert, "replace": _Reading.replace, "split": _Reading.split, "remove": _Reading.remove,
    "single": _Reading.single, "set": _Reading.set, "add": _Reading.add, "task": _Reading.task,
}  # fmt: skip
