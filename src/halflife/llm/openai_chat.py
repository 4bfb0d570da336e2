"""Chat models behind the OpenAI API, or behind any server that speaks it (vLLM, Ollama, LM Studio and so on)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from halflife.errors import InvalidInput, MissingExtra, ModelUnavailable
from halflife.llm.chat import MAX_TOKENS, Completion, Message

Binding = Literal["schema", "json", "none"]
_ORDER: tuple[Binding, ...] = ("schema", "json", "none")


class OpenAIChat:
    """A chat model behind the OpenAI API. All that a prompt holds is sent to that server.

    Parameters
    ----------
    model: its name on the server.
    base_url: the server; by default OPENAI_BASE_URL, or else OpenAI's own.
    api_key: by default OPENAI_API_KEY; a server named by URL may need none.
    temperature: of sampling; 0 takes the likeliest token. None leaves it to the server (some models refuse others).
    seed: given to the server, which may or may not heed it.
    timeout: seconds for one request.
    retries: how often a request is repeated after a failure that may pass (no connection, 429, 5xx), waiting longer
        each time, and as long as the server says if it does.
    per_minute: at most as many requests in a minute; None for no limit.

    A server that cannot be bound to a JSON schema is found out at the first call, and asked for plain JSON, or at last
    for a text, from then on.

    Raises
    ------
    MissingExtra: the `openai` package is not installed.
    ModelUnavailable: from `complete`, when the server cannot be reached, refuses, or takes too long.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        temperature: float | None = 0.0,
        seed: int | None = 0,
        timeout: float = 60.0,
        retries: int = 3,
        per_minute: int | None = None,
    ) -> None:
        if not model:
            raise InvalidInput("The model has no name.", "Write openai:MODEL, such as openai:gpt-4o-mini.")
        if per_minute is not None and per_minute < 1:
            raise InvalidInput(f"per_minute is {per_minute}.", "Allow one request a minute or more.")
        try:
            import openai
        except ImportError:
            raise MissingExtra("openai", "llm") from None
        url = base_url or os.environ.get("OPENAI_BASE_URL")
        key = api_key or os.environ.get("OPENAI_API_KEY") or ("none" if url else None)
        if key is None:
            raise InvalidInput(
                "There is no API key for OpenAI.", "Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
            )
        self.model = model
        self._settings = {
            name: value for name, value in (("temperature", temperature), ("seed", seed)) if value is not None
        }
        self._failure, self._refused = openai.OpenAIError, openai.BadRequestError
        self._client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)
        self._binding: Binding = "schema"
        self._pace = Pace(per_minute)

    @property
    def name(self) -> str:
        """`openai:`, the server, the model and its settings."""
        settings = "".join(f",{name}={value}" for name, value in sorted(self._settings.items()))
        return f"openai:{self._client.base_url.host}/{self.model}{settings}"

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Completion:
        """The answer of the server. A refusal is an answer too: its text is what the model says."""
        reply = self._request([asdict(message) for message in messages], schema, max_tokens)
        if not reply.choices:
            raise ModelUnavailable(f"{self.name} answered with nothing.", "Try again.")
        said = reply.choices[0].message
        usage = reply.usage
        return Completion(
            said.content or getattr(said, "refusal", None) or "",
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
        )

    def _request(self, messages: list[dict[str, Any]], schema: Mapping[str, Any] | None, max_tokens: int) -> Any:
        options = {**self._settings, "max_tokens": max_tokens}
        while True:
            self._pace.wait()
            try:
                return self._client.chat.completions.create(
                    model=self.model,
                    messages=messages,
                    **options,
                    **self._bound(schema),  # type: ignore[call-overload]
                )
            except self._refused as error:
                if schema is not None and self._binding != "none" and "response_format" in str(error):
                    self._binding = _ORDER[_ORDER.index(self._binding) + 1]
                elif "max_tokens" in options and "max_completion_tokens" in str(error):
                    options["max_completion_tokens"] = options.pop("max_tokens")  # models that think want it so
                else:
                    raise self._unavailable(error) from error
            except self._failure as error:
                raise self._unavailable(error) from error

    def _bound(self, schema: Mapping[str, Any] | None) -> dict[str, Any]:
        if schema is None or self._binding == "none":
            return {}
        if self._binding == "json":
            return {"response_format": {"type": "json_object"}}
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}

    def _unavailable(self, error: Exception) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self.name} did not answer: {error}",
            "Check the address, the key and the model's name; what was written is safe, and will be taken up again.",
        )


class Pace:
    """Lets as many calls through in a minute as are allowed, and makes the others wait.

    >>> now = [0.0]
    >>> pace = Pace(2, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    >>> for _ in range(3):
    ...     pace.wait()
    >>> now[0]
    60.0
    """

    def __init__(self, per_minute: int | None, clock: Any = time.monotonic, sleep: Any = time.sleep) -> None:
        self._limit, self._clock, self._sleep = per_minute, clock, sleep
        self._calls: list[float] = []
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when another call is allowed, and count it."""
        if self._limit is None:
            return
        with self._lock:
            now = self._clock()
            self._calls = [call for call in self._calls if call > now - 60.0]
            if len(self._calls) >= self._limit:
                self._sleep(self._calls[-self._limit] + 60.0 - now)
            self._calls.append(self._clock())
