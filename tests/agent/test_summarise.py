"""Short texts from longer ones, without a model."""

from __future__ import annotations

from halflife.agent.summarise import central
from halflife.llm import HashEmbedder

EMBEDDER = HashEmbedder()


def test_what_most_sentences_are_about_is_kept_in_order():
    texts = ["Anna plays the cello. The weather is nice.", "Anna plays the cello well.", "Anna plays the old cello."]
    assert central(texts, EMBEDDER, 2) != central(texts, EMBEDDER, 3)
    assert "The weather is nice." not in central(texts, EMBEDDER, 3)
    assert central(texts, EMBEDDER, 3)[0] == "Anna plays the cello."


def test_a_short_text_is_its_own_summary_and_repetition_counts_once():
    assert central(["Hello.", "Hello.", "Bye."], EMBEDDER, 3) == ["Hello.", "Bye."]
    assert central([], EMBEDDER) == []
