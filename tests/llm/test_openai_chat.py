"""Chat models behind OpenAI's API: what is sent, what is repeated, what is reported."""

from __future__ import annotations

import time
from typing import Any

import pytest

from halflife.errors import InvalidInput, ModelUnavailable
from halflife.llm.chat import Message
from halflife.llm.openai_chat import OpenAIChat
from tests.llm.servers import Script, completion, serving

HI = [Message("system", "Be brief."), Message("user", "Hi?")]
SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}}


def ask(script: Script, count: int = 1, schema: Any = None, **options: Any) -> list[str]:
    with serving(script) as url:
        model = OpenAIChat("m", base_url=url, **options)
        return [model.complete(HI, schema=schema, max_tokens=9).text for _ in range(count)]


def test_it_sends_the_messages_and_counts_tokens() -> None:
    script = Script("Hello.")
    with serving(script) as url:
        done = OpenAIChat("m", base_url=url, seed=5).complete(HI, max_tokens=9)
    assert (done.text, done.prompt_tokens, done.completion_tokens, done.cached) == ("Hello.", 7, 3, False)
    [body] = script.asked
    assert body["messages"] == [{"role": m.role, "content": m.content} for m in HI]
    assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("m", 0.0, 5, 9)
    assert "response_format" not in body


def test_what_may_pass_is_tried_again() -> None:
    script = Script(429, 503, "Hello.")
    assert ask(script, retries=2) == ["Hello."]
    assert len(script.asked) == 3


def test_what_does_not_pass_is_reported() -> None:
    with pytest.raises(ModelUnavailable, match=r"did not answer.*safe"):
        ask(Script(500, 500), retries=1)


def test_a_server_that_is_not_there_is_reported() -> None:
    with serving(Script()) as url:
        pass
    with pytest.raises(ModelUnavailable, match="did not answer"):
        OpenAIChat("m", base_url=url, retries=0).complete(HI)


def test_one_that_takes_too_long_is_reported() -> None:
    def slow() -> str:
        time.sleep(0.5)
        return "late"

    with pytest.raises(ModelUnavailable, match="timed out"):
        ask(Script(slow), retries=0, timeout=0.05)


def test_a_schema_is_given_to_a_server_that_takes_it() -> None:
    script = Script("{}")
    ask(script, schema=SCHEMA)
    assert script.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_server_that_takes_no_schema_is_asked_for_json_and_then_for_text() -> None:
    no = {"error": {"message": "response_format is not supported"}}
    script = Script(no, no, "{}", "{}")
    assert ask(script, 2, schema=SCHEMA) == ["{}", "{}"]
    formats = [body.get("response_format", {}).get("type") for body in script.asked]
    assert formats == ["json_schema", "json_object", None, None]


def test_a_model_that_counts_its_thinking_gets_its_limit_so() -> None:
    script = Script({"error": {"message": "use 'max_completion_tokens' instead of 'max_tokens'"}}, "ok")
    assert ask(script) == ["ok"]
    assert script.asked[1]["max_completion_tokens"] == 9
    assert "max_tokens" not in script.asked[1]


def test_a_refusal_is_an_answer() -> None:
    assert ask(Script(completion(None, refusal="I cannot."))) == ["I cannot."]


def test_an_empty_answer_and_none_at_all() -> None:
    assert ask(Script(completion(None))) == [""]
    with pytest.raises(ModelUnavailable, match="nothing"):
        ask(Script({**completion(""), "choices": []}))


def test_another_bad_request_is_reported_and_not_repeated() -> None:
    script = Script({"error": {"message": "no such model"}})
    with pytest.raises(ModelUnavailable, match="no such model"):
        ask(script, schema=SCHEMA)
    assert len(script.asked) == 1


def test_the_name_tells_all_that_decides_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    names = {
        OpenAIChat("a").name,
        OpenAIChat("b").name,
        OpenAIChat("a", seed=1).name,
        OpenAIChat("a", temperature=1.0).name,
        OpenAIChat("a", base_url="http://elsewhere/v1").name,
    }
    assert len(names) == 5


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InvalidInput, match="OPENAI_API_KEY"):
        OpenAIChat("m")
    with pytest.raises(InvalidInput, match="no name"):
        OpenAIChat("", base_url="http://localhost/v1")
    with pytest.raises(InvalidInput, match="per_minute"):
        OpenAIChat("m", base_url="http://localhost/v1", per_minute=0)
