"""A real language model in the process: SmolLM2-135M-Instruct, bound to schemas, alone and behind a server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from halflife.errors import InvalidInput, ModelNotFound
from halflife.llm.chat import ChatModel, Message
from halflife.llm.client import Chat
from halflife.llm.local import LocalChat, default_model
from halflife.llm.openai_chat import OpenAIChat
from tests.llm.servers import running, serving

CAPITAL = [Message("user", "What is the capital of France? Answer with one word.")]


@dataclass
class Note:
    keywords: list[str]
    mood: Literal["good", "bad"]


def test_it_answers_and_answers_the_same_again(smollm2: LocalChat) -> None:
    done = smollm2.complete(CAPITAL, max_tokens=12)
    assert "Paris" in done.text
    assert done.prompt_tokens > 10
    assert 0 < done.completion_tokens <= 12
    assert smollm2.complete(CAPITAL, max_tokens=12) == done


def test_an_answer_is_bound_to_its_schema(smollm2: LocalChat) -> None:
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}, "stars": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["mood", "stars"],
        "additionalProperties": False,
    }
    said = "Tell me a story about a dragon, and do not write JSON."
    answer = json.loads(smollm2.complete([Message("user", said)], schema=schema, max_tokens=40).text)
    assert answer["mood"] in ("good", "bad")
    assert 1 <= answer["stars"] <= 5


def test_through_a_server_it_gives_typed_answers(smollm2: LocalChat) -> None:
    with serving(running(smollm2)) as url:
        chat = Chat(OpenAIChat("smollm2", base_url=url))
        note = chat.asked(
            "t.note", "Give two keywords and the mood.\n<said>\nI love jazz.\n</said>", Note, max_tokens=60
        )
    assert isinstance(note, Note)
    assert chat.meter.total().completion_tokens > 0


def test_a_prompt_that_does_not_fit_is_refused(smollm2: LocalChat) -> None:
    with pytest.raises(InvalidInput, match="does not fit"):
        smollm2.complete([Message("user", "tea " * 9000)], max_tokens=8)


def test_its_name_tells_its_settings() -> None:
    default = LocalChat()
    assert isinstance(default, ChatModel)
    assert default.name == f"local:{default_model().name},temperature=0,seed=0"
    assert LocalChat(temperature=0.7, seed=3).name != default.name
    with pytest.raises(InvalidInput, match="temperature"):
        LocalChat(temperature=-1.0)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no model file"):
        LocalChat(tmp_path / "nothing.gguf")
