"""Texts that differ in what can go wrong: length, script, emptiness, special tokens, padding."""

from __future__ import annotations

_DIARY = (
    "Up betimes and to the office, where we sat all the morning; at noon home to dinner, and there found my "
    "wife much pleased with the new hangings. In the afternoon by water to Westminster, the tide being "
    "against us. "
)

TEXTS = [
    "",
    " ",
    "\n\t",
    ".",
    "a",
    "Hello, world!",
    "I moved from Berlin to Lisbon in March 2024 because of the weather.",
    "Her sister is allergic to peanuts, but not to almonds.",
    "naïve café déjà-vu Ærøskøbing",
    "Die Größe der Straße überraschte uns.",
    "東京は今日とても暑いです。",
    "오늘은 날씨가 좋네요",
    "Привет, как дела?",
    "مرحبا بالعالم",
    "🙂🙃👩‍👩‍👧‍👦 family emoji",
    "e\u0301 combining, \u00ad soft hyphen, \u200b zero width, \ufeff mark",
    "[CLS] special [SEP] tokens [MASK] in [PAD] text",
    "x" * 300,
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "def f(x):\n    return x ** 2  # square",
    "https://example.org/a/b?c=d&e=f#g",
    "1234567890 3.14159 1,000,000 50% $20",
    "UPPER lower MiXeD",
    _DIARY,
    _DIARY * 3,
    _DIARY * 12,
    "word " * 253,
    "word " * 254,
    "word " * 255,
    "word " * 2000,
    "東" * 700,
    "no space!" * 200,
]
