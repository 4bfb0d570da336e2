"""Options that commands share, and how a command opens the memory that they name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from halflife.errors import InvalidFilter, InvalidInput, UnknownSpace
from halflife.store.plain import loads

if TYPE_CHECKING:
    from halflife.agent.memory import Memory
    from halflife.llm.embedder import Embedder, Vectors

DEFAULT_DB = "halflife.db"
KEY_VARIABLE = "HALFLIFE_KEY"  # a key is never an argument: other users of a machine can see those
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Target:
    """Which file, and whose memory in it."""

    db: str
    user: str | None = None
    agent: str | None = None
    session: str | None = None
    embedder: str | None = None
    system: str | None = None
    llm: str | None = None
    key: str | None = field(default=None, repr=False)

    @property
    def owner(self) -> dict[str, Any]:
        """Whose memory, as `Memory` names it."""
        return {"user_id": self.user, "agent_id": self.agent}

    @property
    def scope(self) -> dict[str, Any]:
        """Whose memory, and of which session."""
        return {**self.owner, "session_id": self.session}


def on_file(command: Command) -> Command:
    """Options --db, --embedder and --key-file; the command gets them as its argument `target`."""
    return _packed(command, (_DB, _EMBEDDER, _KEY))


def on_space(command: Command) -> Command:
    """Options of a file and of whose memory in it, as the argument `target`."""
    return _packed(command, (_DB, _USER, _AGENT, _EMBEDDER, _SYSTEM, _LLM, _KEY))


def on_session(command: Command) -> Command:
    """The same, and of which session."""
    return _packed(command, (_DB, _USER, _AGENT, _SESSION, _EMBEDDER, _SYSTEM, _LLM, _KEY))


def common(command: Command) -> Command:
    """Options --json (the argument `as_json`) and --debug, which every command has."""
    for option in (_DEBUG, _JSON):
        command = option(command)
    return command


def _packed(command: Command, options: Sequence[Callable[[Any], Any]]) -> Command:
    @wraps(command)
    def pack(**given: Any) -> Any:
        names = ("db", "user", "agent", "session", "embedder", "system", "llm")
        key = read_key(given.pop("key_file"))
        target = Target(**{name: given.pop(name) for name in names if name in given}, key=key)
        return command(target=target, **given)

    packed: Any = pack
    for option in reversed(options):
        packed = option(packed)
    return packed  # type: ignore[no-any-return]


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(dict)["debug"] = True


_DB = click.option(
    "--db", envvar="HALFLIFE_DB", default=DEFAULT_DB, show_default=True, metavar="PATH", show_envvar=True,
    help="The file of the memory.",
)  # fmt: skip
_USER = click.option("--user", "--user-id", "user", metavar="ID", help="Whose memory.")
_AGENT = click.option("--agent", "--agent-id", "agent", metavar="ID", help="Which agent's memory.")
_SESSION = click.option("--session", "--session-id", "session", metavar="ID", help="Which conversation.")
_EMBEDDER = click.option(
    "--embedder", envvar="HALFLIFE_EMBEDDER", metavar="NAME", show_envvar=True,
    help="minilm, minilm:int8, hash, openai:MODEL or st:MODEL.  [default: what the file was made with, or minilm]",
)  # fmt: skip
_SYSTEM = click.option(
    "--system", envvar="HALFLIFE_SYSTEM", metavar="NAME", show_envvar=True,
    help="A published memory system, see `halflife systems`.  [default: Halflife's own]",
)  # fmt: skip
_LLM = click.option(
    "--llm", envvar="HALFLIFE_LLM", metavar="NAME", show_envvar=True,
    help="A language model for what the system leaves to one: openai:MODEL or local.  [default: none]",
)  # fmt: skip
_KEY = click.option(
    "--key-file", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
    help=f"A file with the key of an encrypted memory.  [default: the key in {KEY_VARIABLE}, if set]",
)  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
_DEBUG = click.option(
    "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error."
)


# -- opening --------------------------------------------------------------------------------------------------


@contextmanager
def open_memory(target: Target, *, create: bool = False, embeds: bool = True, redact: bool = False) -> Iterator[Memory]:
    """The memory that a command works on, closed at the end.

    Parameters
    ----------
    create: make the file if it is missing; otherwise that is an error.
    embeds: whether the command turns texts into vectors; if not, no model is looked for.
    redact: keep secrets out of what is written.
    """
    from halflife.agent.memory import Memory

    stored = _stored_embedder(target) if target.embedder is None or not embeds else None
    embedder: Any = target.embedder
    if not embeds:
        embedder = Unused(*stored) if stored else "hash"  # a file without vectors asks nothing of it
    elif stored:
        embedder = _spec_of(stored[0])
    with Memory(
        target.db, embedder=embedder, must_exist=not create, actor="cli", key=target.key,
        redact="secrets" if redact else None, system=target.system, llm=target.llm,
    ) as memory:  # fmt: skip
        yield memory


def known_space(memory: Memory, target: Target) -> None:
    """Refuse a user or agent of whom nothing is known. Raises `UnknownSpace`, which names nobody else."""
    from halflife.store.trace import Space

    space = Space.of(target.user, target.agent)
    if memory.engine.store.space_id(space) is None:
        raise UnknownSpace(
            f"Nothing was ever remembered for {space}.",
            "Choose with --user or --agent; halflife stats shows whose memories there are.",
        )


@dataclass(frozen=True)
class Unused:
    """In the place of an embedder where none is needed: it has the name and the length, and makes no vectors."""

    fingerprint: str
    dim: int

    def split(self, text: str) -> list[str]:
        raise NotImplementedError

    def embed(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def count_tokens(self, text: str) -> int:
        raise NotImplementedError


def _stored_embedder(target: Target) -> tuple[str, int] | None:
    """Which embedder a file was made with, if there is a file and it has vectors."""
    if not Path(target.db).is_file():
        return None
    from halflife.decay import FSRS6
    from halflife.store.sqlite import SqliteStore

    with SqliteStore(target.db, law=FSRS6(), must_exist=True, key=target.key) as store:
        return store.embedder()


def _spec_of(fingerprint: str) -> str | Embedder | None:
    """The name by which `--embedder` would ask for a stored vector space; None for the default."""
    name, _, rest = fingerprint.partition("/")
    if name.startswith("hash-"):
        return f"hash:{rest}"
    if name.startswith(("openai:", "st:")):
        return fingerprint.rpartition("/")[0]
    return "minilm:int8" if fingerprint.endswith("/int8") else None


# -- what is typed --------------------------------------------------------------------------------------------


def read_filter(text: str | None) -> dict[str, Any] | None:
    """The value of --filter. Raises `InvalidFilter`."""
    if text is None:
        return None
    try:
        value = loads(text)
    except ValueError as error:
        raise InvalidFilter(f"--filter is not JSON: {error}.", """Write it as '{"role": "user"}'.""") from None
    if not isinstance(value, dict):
        raise InvalidFilter(f"--filter must be a JSON object, not {text}.", """Write it as '{"role": "user"}'.""")
    return value


def read_metadata(pairs: Sequence[str]) -> dict[str, Any] | None:
    """The values of --meta: `key=text` or `key:=JSON`. Raises `InvalidInput`.

    >>> read_metadata(["channel=mail", "stars:=5"])
    {'channel': 'mail', 'stars': 5}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        is_json = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise InvalidInput(f"--meta {pair!r} is no pair.", "Write key=value, or key:=JSON for a number or a list.")
        try:
            found[key] = loads(value) if is_json else value
        except ValueError as error:
            raise InvalidInput(f"--meta {key}: {value!r} is not JSON: {error}.") from None
    return found or None


def read_key(file: Path | None) -> str | None:
    """The key in a file, without the end of its line; without a file, that of the environment. None for none."""
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The key cannot be read from {file} ({error}).", "Name a text file.") from None
    if not key:
        raise InvalidInput(f"{file} is empty: there is no key in it.")
    return key


def read_stdin() -> str:
    """All of stdin as text. Raises `InvalidInput` if it is not UTF-8."""
    stream = sys.stdin
    try:
        data = stream.buffer.read() if hasattr(stream, "buffer") else stream.read().encode()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"stdin is not UTF-8 text (byte {error.start}).", "Convert it first, with iconv.") from None
