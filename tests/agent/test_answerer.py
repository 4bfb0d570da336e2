"""The answer agent by rule and by a language model."""

from __future__ import annotations

import pytest

from halflife.agent.answerer import UNKNOWN, AnswerPolicy, LLMAnswerer, RuleAnswerer
from halflife.agent.manager import Candidate
from halflife.errors import UnusableAnswer
from halflife.llm.client import Chat
from tests.llm.scripted import Scripted

SHOWN = [Candidate(name, f"Memory {name}.", cosine) for name, cosine in (("a", 0.9), ("b", 0.8), ("c", 0.3))]


def test_the_rule_keeps_what_is_nearly_as_near_and_no_more_than_it_may():
    assert isinstance(RuleAnswerer(), AnswerPolicy)
    assert RuleAnswerer().select("?", SHOWN) == [True, True, False]
    assert RuleAnswerer(keep=1).select("?", SHOWN) == [True, False, False]
    assert RuleAnswerer(margin=1.0).select("?", SHOWN) == [True, True, True]
    assert RuleAnswerer().answer("?", []).text == UNKNOWN


def test_a_model_names_the_memories_that_it_used():
    reply = LLMAnswerer(Chat(Scripted([{"selected": [2], "answer": " B "}]))).answer("?", SHOWN)
    assert (reply.text, reply.kept) == ("B", (False, True, False))
    assert LLMAnswerer(Chat(Scripted([]))).answer("?", []).text == UNKNOWN  # nothing to ask about


@pytest.mark.parametrize("wrong", [{"selected": [4], "answer": "x"}, {"selected": [0], "answer": "x"}, {"answer": " "}])
def test_an_answer_from_memories_that_were_not_shown_is_refused(wrong):
    policy = LLMAnswerer(Chat(Scripted([wrong, {"selected": [1], "answer": "x"}])))
    assert policy.select("?", SHOWN) == [True, False, False]
    with pytest.raises(UnusableAnswer):
        LLMAnswerer(Chat(Scripted([wrong, wrong]))).answer("?", SHOWN)
