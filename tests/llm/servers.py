"""Servers that speak OpenAI's API, on this machine: one that follows a script, and one that runs a model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from halflife.llm.chat import ChatModel, Message

Answer = Callable[[dict[str, Any]], tuple[int, Any, dict[str, str]]]  # body -> status, JSON, headers


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A server that answers POST /v1/chat/completions so; its base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply, headers = answer(body) if self.path == "/v1/chat/completions" else (404, {}, {})
            data = json.dumps(reply).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a client that waited no longer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text: str | None, **message: Any) -> dict[str, Any]:
    """An answer as the API gives it."""
    return {
        "id": "1", "object": "chat.completion", "created": int(time.time()), "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }  # fmt: skip


class Script:
    """Gives these answers one after the other, and keeps what it was asked.

    A string is an answer; a number is a status with an error; a mapping is the body of a bad request.
    """

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()

    def __call__(self, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        self.asked.append(body)
        answer = self.answers.pop(0)
        if callable(answer):
            answer = answer()
        if isinstance(answer, int):
            return answer, {"error": {"message": f"status {answer}"}}, {"Retry-After": "0.01"}
        if isinstance(answer, str):
            return 200, completion(answer), {}
        if "error" in answer:
            return 400, answer, {}
        return 200, answer, {}


def running(model: ChatModel, longest: int = 512) -> Answer:
    """Answers by a model, bound to the schema that a request gives, of at most `longest` tokens."""

    def answer(body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        messages = [Message(m["role"], m["content"]) for m in body["messages"]]
        form = body.get("response_format", {})
        schema = form.get("json_schema", {}).get("schema")
        done = model.complete(messages, schema=schema, max_tokens=min(longest, body.get("max_tokens", longest)))
        reply = completion(done.text)
        reply["usage"] = {
            "prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens,
            "total_tokens": done.prompt_tokens + done.completion_tokens,
        }  # fmt: skip
        return 200, reply, {}

    return answer
