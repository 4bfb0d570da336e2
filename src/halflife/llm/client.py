"""What a memory system talks to: prompts by name, answers of a form, one repair, every call counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from halflife.errors import MissingExtra, UnusableAnswer
from halflife.llm.chat import MAX_TOKENS, ChatModel, Message
from halflife.llm.meter import Meter
from halflife.llm.prompts import SYSTEM, Field, prompt

T = TypeVar("T")

_REPAIR = "That answer cannot be used: {why}\n\nWrite it again, as JSON of this form and nothing else:\n{shape}"


class Chat:
    """A chat model as systems use it.

    Parameters
    ----------
    model: what answers.
    meter: counts calls by purpose.

    >>> from dataclasses import dataclass
    >>> from halflife.llm.chat import Completion
    >>> @dataclass
    ... class Verdict:
    ...     keep: bool
    >>> class Yes:
    ...     name = "yes"
    ...     def complete(self, messages, *, schema=None, max_tokens=512):
    ...         return Completion('{"keep": true}')
    >>> chat = Chat(Yes())
    >>> chat.asked("example.keep", "Is this worth keeping?", Verdict)
    Verdict(keep=True)
    >>> chat.meter.total().calls
    1
    """

    def __init__(self, model: ChatModel, meter: Meter | None = None) -> None:
        self.model, self.meter = model, meter or Meter()

    def text(self, purpose: str, *, max_tokens: int = MAX_TOKENS, **fields: Field) -> str:
        """The model's answer to the prompt of a purpose (`halflife.llm.prompts`), without blanks around it."""
        with self.meter.call(purpose) as answered:
            completion = self.model.complete(_opening(prompt(purpose, fields)), max_tokens=max_tokens)
            answered(completion)
        return completion.text.strip()

    def ask(
        self,
        purpose: str,
        form: type[T],
        *,
        check: Callable[[T], object] | None = None,
        max_tokens: int = MAX_TOKENS,
        **fields: Field,
    ) -> T:
        """The model's answer as an object of a form.

        Parameters
        ----------
        purpose: names the prompt, and what the call is counted under.
        form: a dataclass, which may hold others; its schema is given to the model.
        check: raises `ValueError` for an answer of the form that cannot be used.
        max_tokens: of the answer.
        fields: what goes into the prompt, fenced.

        Raises
        ------
        UnusableAnswer: the answer cannot be used, nor the one repair that is asked for.
        """
        return self.asked(purpose, prompt(purpose, fields), form, check=check, max_tokens=max_tokens)

    def asked(
        self,
        purpose: str,
        question: str,
        form: type[T],
        *,
        check: Callable[[T], object] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> T:
        """`ask` with the prompt itself, in which the caller has fenced what is data."""
        shape = _Form(form)
        messages = _opening(f"{question}\n\nAnswer with JSON of this form:\n{shape.text}")
        try:
            return self._read(purpose, messages, shape, check, max_tokens)
        except _Malformed as error:
            repair = _REPAIR.format(why=error, shape=shape.text)
            messages = [*messages, Message("assistant", error.answer or "{}"), Message("user", repair)]
        try:
            return self._read(purpose, messages, shape, check, max_tokens)
        except _Malformed as error:
            raise UnusableAnswer(
                f"The answer of {self.model.name} for {purpose} cannot be used: {error}",
                "Nothing was written; it will be asked again. A model that is bound to a schema helps.",
            ) from None

    def _read(
        self,
        purpose: str,
        messages: Sequence[Message],
        shape: _Form[T],
        check: Callable[[T], object] | None,
        max_tokens: int,
    ) -> T:
        with self.meter.call(purpose) as answered:
            completion = self.model.complete(messages, schema=shape.schema, max_tokens=max_tokens)
            answered(completion)
            try:
                value = shape.read(completion.text)
                if check is not None:
                    check(value)
            except ValueError as error:
                raise _Malformed(str(error), completion.text) from None
        return value


def _opening(question: str) -> list[Message]:
    return [Message("system", SYSTEM), Message("user", question)]


class _Malformed(Exception):
    def __init__(self, why: str, answer: str) -> None:
        super().__init__(why)
        self.answer = answer


class _Form(Generic[T]):
    """The schema of a form, and how an answer is read."""

    def __init__(self, form: type[T]) -> None:
        try:
            from pydantic import TypeAdapter
        except ImportError:
            raise MissingExtra("pydantic", "llm") from None
        self._adapter: Any = TypeAdapter(form)
        self.schema: dict[str, Any] = self._adapter.json_schema()
        self.text = outline(self.schema)

    def read(self, answer: str) -> T:
        """The object in an answer, which may stand in a fence or between words."""
        start, end = answer.find("{"), answer.rfind("}")
        if start < 0 or end < start:
            raise ValueError("there is no JSON object in it.")
        from pydantic import ValidationError

        try:
            value: T = self._adapter.validate_json(answer[start : end + 1], strict=True)
        except ValidationError as error:
            raise ValueError(_told(error.errors(include_url=False, include_input=False))) from None
        return value


def _told(errors: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the answer'}: {e['msg']}" for e in errors[:5])


def outline(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> str:
    """A JSON schema as the form of an answer: shorter than the schema, and small models do not echo its words.

    >>> outline({"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}},
    ...          "mood": {"enum": ["good", "bad"]}, "stars": {"type": "integer"}}})
    '{"tags": [text, ...], "mood": "good" or "bad", "stars": number}'
    """
    root = root or schema
    if "$ref" in schema:
        return outline(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(outline(option, root) for option in options))
    if "enum" in schema or "const" in schema:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "object":
        fields = (f'"{name}": {outline(field, root)}' for name, field in schema.get("properties", {}).items())
        return f"{{{', '.join(fields)}}}"
    if kind == "array":
        return f"[{outline(schema.get('items', {}), root)}, ...]"
    return {"string": "text", "integer": "number", "number": "number", "boolean": "true or false"}.get(
        str(kind), "null"
    )
