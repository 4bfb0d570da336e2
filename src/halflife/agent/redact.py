"""Secrets kept out at the door: found in what is about to be written, and replaced by what they are.

The preset `secrets` knows keys and tokens by the rules of Kingfisher (MongoDB, Apache-2.0; extra `redact`), which
runs in this process and asks nobody; and, by the rules below, passwords that are named as such or stand in an
address, AWS key ids, card numbers (issuer's prefix and check digit) and email addresses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

from halflife.errors import InvalidInput, MissingExtra
from halflife.store.draft import Draft

Redact: TypeAlias = str | Callable[[str], str]

PRESET = "secrets"
OWN = "redacted"  # the label of what a caller's function changed

_PASSWORD = re.compile(
    r"""(?<![a-z])(?:password|passwd|passphrase|pwd|(?:api|secret|access|account)[ _-]?key|access[ _-]?token)"""
    r"""["']?\s{0,3}[:=]\s{0,3}"""
    r"""["']?([^\s"'\[][^\s"']{5,255})""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\bBearer\s{1,3}([\w.~+/-]{20,4096}=*)", re.IGNORECASE)
_IN_ADDRESS = re.compile(r"://[^\s:/@]{1,256}:([^\s/@\[][^\s/@]{0,255})@")
_AWS = re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])")
_DIGITS = re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|"
    r"6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11}"
)
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}(?![\w-])")

Found = tuple[int, int, str]  # from, to, and what it is


class Redactor:
    """Replaces secrets in text by placeholders such as `[email]`, and says which.

    Parameters
    ----------
    rule: `"secrets"`, or a function that returns a text without what must not be kept.

    Raises
    ------
    MissingExtra: the preset needs a library that is not installed. InvalidInput: there is no such preset.

    >>> redactor = Redactor(lambda text: text.replace("swordfish", "[password]"))
    >>> redactor.text("It is swordfish.")
    ('It is [password].', ('redacted',))
    >>> redactor.value({"note": ["swordfish", 7]})
    ({'note': ['[password]', 7]}, ('redacted',))
    """

    def __init__(self, rule: Redact) -> None:
        if rule != PRESET and not callable(rule):
            raise InvalidInput(
                f"There is no rule {rule!r} to redact by.", f"Use redact={PRESET!r}, or a function from text to text."
            )
        self._rule = rule if callable(rule) else None
        if self._rule is None:
            _scanner()  # what is missing is said at once, not at the first write

    def text(self, text: str) -> tuple[str, tuple[str, ...]]:
        """A text without secrets, and what each of them was."""
        if self._rule is None:
            return _replaced(text)
        changed = self._rule(text)
        if not isinstance(changed, str):
            raise InvalidInput(f"The function given as redact returned {type(changed).__name__}, not text.")
        return changed, (OWN,) if changed != text else ()

    def value(self, value: Any) -> tuple[Any, tuple[str, ...]]:
        """Plain data without secrets in its texts and keys, and what they were. Numbers stay as they are."""
        labels: list[str] = []

        def clean(item: Any) -> Any:
            if isinstance(item, str):
                text, found = self.text(item)
                labels.extend(found)
                return text
            if isinstance(item, Mapping):
                out: dict[Any, Any] = {}
                for key, inner in item.items():
                    out[_unused(clean(key), out)] = clean(inner)
                return out
            if isinstance(item, (list, tuple)):
                return [clean(inner) for inner in item]
            return item

        return clean(value), tuple(labels)

    def draft(self, draft: Draft) -> tuple[Draft, tuple[str, ...]]:
        """A draft without secrets in its text and metadata, and what they were.

        A vector of a text that changed is dropped, to be made anew: it was made from what must not be kept.
        """
        text, in_text = self.text(draft.text) if draft.text else ("", ())
        metadata, in_metadata = self.value(draft.metadata) if draft.metadata else (draft.metadata, ())
        if not in_text and not in_metadata:
            return draft, ()
        vectors = draft.vectors if text == draft.text else None
        return replace(draft, text=text, metadata=metadata, vectors=vectors), (*in_text, *in_metadata)


def _unused(key: Any, taken: Mapping[Any, Any]) -> Any:
    """A key that may have become that of another: two addresses are both `[email]`."""
    return (
        key if key not in taken else next(f"{key} {n}" for n in range(2, len(taken) + 3) if f"{key} {n}" not in taken)
    )


def summary(labels: Mapping[str, int]) -> str:
    """Counts in words.

    >>> summary({"email": 2, "api key": 1})
    'Redacted: 2 email, 1 api key.'
    """
    return f"Redacted: {', '.join(f'{count} {label}' for label, count in labels.items())}." if labels else ""


def count(labels: Iterable[str]) -> dict[str, int]:
    """How many of each, the most frequent first."""
    return dict(Counter(labels).most_common())


# -- the preset ---------------------------------------------------------------------------------------------------


def _replaced(text: str) -> tuple[str, tuple[str, ...]]:
    text, labels = _without([*_keys(text), *_passwords(text), *_cards(text)], text)
    text, emails = _without(list(_emails(text)), text)  # the password in an address looks like one until it is gone
    return text, (*labels, *emails)


def _without(found: list[Found], text: str) -> tuple[str, list[str]]:
    out: list[str] = []
    labels: list[str] = []
    end = 0
    for start, stop, label in _merged(found):
        out += [text[end:start], f"[{label}]"]
        labels.append(label)
        end = stop
    return "".join([*out, text[end:]]), labels


def _merged(found: list[Found]) -> list[Found]:
    """What overlaps, as one; it is called what the first rule called it."""
    ranked = sorted(enumerate(found), key=lambda item: item[1][0])
    out: list[tuple[int, Found]] = []
    for rank, (start, stop, label) in ranked:
        if out and start < out[-1][1][1]:
            before, (first, last, name) = out[-1]
            out[-1] = min(before, rank), (first, max(last, stop), name if before < rank else label)
        else:
            out.append((rank, (start, stop, label)))
    return [one for _, one in out]


def _keys(text: str) -> Iterator[Found]:
    """Keys and tokens that Kingfisher knows, and AWS key ids, which it reports only beside their secret."""
    data = text.encode()
    for finding in _scanner().scan(data):
        if finding.visible:
            at = finding.location
            start = len(data[: at["start_offset"]].decode(errors="ignore"))
            stop = start + len(data[at["start_offset"] : at["end_offset"]].decode(errors="ignore"))
            yield start, stop, "private key" if "private-key" in finding.rule_id else "api key"
    for match in _AWS.finditer(text):
        yield *match.span(), "api key"


def _passwords(text: str) -> Iterator[Found]:
    for rule, label in ((_IN_ADDRESS, "password"), (_BEARER, "api key"), (_PASSWORD, "password")):
        for match in rule.finditer(text):
            yield *match.span(1), label


def _cards(text: str) -> Iterator[Found]:
    for match in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _CARD.fullmatch(digits) and _luhn(digits):
            yield *match.span(), "card number"


def _luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _emails(text: str) -> Iterator[Found]:
    if "@" in text:
        for match in _EMAIL.finditer(text):
            yield *match.span(), "email"


@cache
def _scanner() -> Any:
    """Kingfisher's rules, compiled: seconds the first time, then read from its cache, which holds rules alone."""
    try:
        from kingfisher_sdk import Rules, Scanner
    except ImportError:
        raise MissingExtra("kingfisher-secret-scanner", "redact") from None
    return Scanner(Rules(), base64=False)
