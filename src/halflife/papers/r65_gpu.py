"""Memory-R1's answer agent as a small language model, tuned by GRPO: the size `gpu` of its reproduction.

SmolLM2-135M-Instruct with low-rank adapters (r = 8) reads five to ten memories and a question, and answers in at most
eight tokens; the reward is exact match. The weights are looked for in the folder that HALFLIFE_SMOLLM2 names, or by
their public name among those that `transformers` has on this machine.

The loop is `halflife.rl.grpo`, as for the small policies: a policy need only draw answers and score them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from halflife.agent.rewards import exact_match, token_f1
from halflife.errors import InvalidInput, MissingExtra, ModelNotFound
from halflife.papers.r65_dialogues import dialogue
from halflife.papers.r65_worlds import PAPER
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress
from halflife.papers.table import Table
from halflife.rl import GRPO, Scores, Step, grpo, one_step

MODEL, VARIABLE = "HuggingFaceTB/SmolLM2-135M-Instruct", "HALFLIFE_SMOLLM2"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RANK, TOKENS = 8, 8  # of the adapters; of an answer
TRAIN, TEST = 400, 200  # questions
HOW = GRPO(updates=100, batch=16, group=8, epochs=1, minibatches=4, lr=2e-4, beta=0.001)
_ASK = "Memories:\n{memories}\n\nQuestion: {question}\nAnswer with the name only."


class Tokenizer(Protocol):
    """What is asked of a tokenizer; those of `transformers` fit."""

    eos_token_id: int

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        ...


@dataclass(frozen=True)
class Asked:
    """A prompt, and the answer it should get."""

    prompt: str
    gold: str


def questions(count: int, seed: int) -> list[Asked]:
    """Questions with one answer about generated people, each with five to ten memories, the right one among them.

    Raises
    ------
    InvalidInput: count is below 1.

    >>> [one] = questions(1, seed=0)
    >>> one.gold in one.prompt
    True
    """
    if count < 1:
        raise InvalidInput(f"{count} questions were asked for.", "Ask for one at least.")
    rng = np.random.default_rng(seed)
    made: list[Asked] = []
    while len(made) < count:
        of = dialogue(PAPER, rng)
        held = {topic: sorted(values) for topic, values in of.truth.items() if len(values) == 1}
        last = {turn.topic: turn.fact.text for turn in of.turns if turn.phase in ("first", "then")}
        for topic in sorted(held)[:3]:
            others = sorted(set(last.values()) - {last[topic]})
            several = rng.permutation(len(others))[: int(rng.integers(4, 10))]
            memories = [last[topic], *(others[i] for i in several.tolist())]
            memories = [memories[i] for i in rng.permutation(len(memories)).tolist()]
            shown = "\n".join(f"- {memory}" for memory in memories)
            made.append(Asked(_ASK.format(memories=shown, question=of.questions[topic]), held[topic][0]))
    return made[:count]


class LowRank(nn.Module):
    """A frozen linear layer with a trained update of low rank, nothing at first.

    Source: Hu et al., "LoRA" (arXiv 2106.09685), equation 3.
    """

    def __init__(self, linear: nn.Linear, rank: int) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.down = nn.Linear(linear.in_features, rank, bias=False)
        self.up = nn.Linear(rank, linear.out_features, bias=False)
        self.to(linear.weight.device)
        nn.init.zeros_(self.up.weight)
        self.on = True

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with its update, computed in float32."""
        out: Tensor = self.linear(x)
        return out + 2 * self.up(self.down(x.float())).to(out.dtype) if self.on else out


def adapt(model: nn.Module, rank: int = RANK, names: Sequence[str] = TARGETS) -> list[LowRank]:
    """Freeze a model and put adapters on its layers of these names. Raises `InvalidInput` if it has none."""
    model.requires_grad_(False)
    made = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if name in names and isinstance(child, nn.Linear):
                made.append(LowRank(child, rank))
                setattr(parent, name, made[-1])
    if not made:
        raise InvalidInput(f"The model has no layer named {' or '.join(names)}.", "Name its linear layers.")
    return made


class Writer:
    """A language model as a policy: a state is an `Asked`, an action the token ids of an answer.

    Parameters
    ----------
    model: token ids [N, T] and mask [N, T] -> an object with `logits` [N, T, V].
    tokenizer: its tokenizer.
    adapters: what is trained; with them off it is the reference.
    device: where it runs.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, adapters: Sequence[LowRank], device: str) -> None:
        self.model, self.tokenizer, self.adapters, self.device = model, tokenizer, adapters, device

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the adapters."""
        return (p for one in self.adapters for layer in (one.down, one.up) for p in layer.parameters())

    def sample(self, states: Sequence[Asked], generator: torch.Generator) -> list[tuple[int, ...]]:
        """Answers drawn at temperature 1."""
        return self._write(states, lambda odds: torch.multinomial(odds, 1, generator=generator)[:, 0])

    def greedy(self, states: Sequence[Asked]) -> list[tuple[int, ...]]:
        """The likeliest tokens, one after the other."""
        return self._write(states, lambda odds: odds.argmax(dim=-1))

    @torch.no_grad()
    def _write(self, states: Sequence[Asked], choose: Any) -> list[tuple[int, ...]]:
        written: list[list[int]] = [[] for _ in states]
        ended = [False] * len(states)
        prompts = [self._prompt(state) for state in states]
        for _ in range(TOKENS):
            ids, mask = self._padded([[*p, *w] for p, w in zip(prompts, written, strict=True)])
            odds = self._logits(ids, mask)[:, -1].float().softmax(dim=-1).cpu()
            for i, token in enumerate(choose(odds).tolist()):
                if not ended[i]:
                    written[i].append(token)
                    ended[i] = token == self.tokenizer.eos_token_id
            if all(ended):
                break
        return [tuple(one) for one in written]

    def score(self, states: Sequence[Asked], actions: Sequence[Sequence[int]]) -> Scores:
        """Log-probability and entropy of each token of these answers."""
        ids, mask = self._padded([[*self._prompt(s), *a] for s, a in zip(states, actions, strict=True)])
        longest = max(len(action) for action in actions)
        # Padded on the left: an answer of n tokens stands in the last n places, and is foretold one place before.
        logits = self._logits(ids, mask)[:, -longest - 1 : -1].float().log_softmax(dim=-1)
        chosen = logits.gather(2, ids[:, -longest:, None])[..., 0]
        entropy = -(logits.exp() * logits).sum(dim=-1)
        lengths = torch.tensor([len(action) for action in actions], device=ids.device)
        own = torch.arange(longest, device=ids.device)[None] >= longest - lengths[:, None]
        return Scores(_left(chosen, lengths), _left(entropy, lengths), _left(own, lengths))

    def text(self, action: Sequence[int]) -> str:
        """What an answer says, up to the end of its first line."""
        return self.tokenizer.decode(action, skip_special_tokens=True).strip().partition("\n")[0].rstrip(".")

    def _logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        out: Tensor = self.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        return out

    def _prompt(self, state: Asked) -> list[int]:
        return self.tokenizer.encode(f"<|im_start|>user\n{state.prompt}<|im_end|>\n<|im_start|>assistant\n")

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.tokenizer.eos_token_id)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, width - len(row) :] = torch.tensor(row)
            mask[i, width - len(row) :] = 1
        return ids.to(self.device), mask.to(self.device)


def _left(values: Tensor, lengths: Tensor) -> Tensor:
    """Rows whose last n values count, with these first, so that what is padded stands at the end."""
    longest = values.shape[1]
    places = (torch.arange(longest, device=values.device)[None] + (longest - lengths[:, None])) % longest
    return values.gather(1, places)


class Reference:
    """A `Writer` with its adapters off: the model before training, without a second copy of it."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def parameters(self) -> Iterator[nn.Parameter]:
        """None is trained."""
        return iter(())

    def sample(self, states: Sequence[Asked], generator: torch.Generator) -> list[tuple[int, ...]]:
        """Answers of the untuned model."""
        with self._off():
            return self.writer.sample(states, generator)

    def score(self, states: Sequence[Asked], actions: Sequence[Sequence[int]]) -> Scores:
        """What the untuned model gives these answers."""
        with self._off():
            return self.writer.score(states, actions)

    @contextmanager
    def _off(self) -> Iterator[None]:
        for one in self.writer.adapters:
            one.on = False
        try:
            yield
        finally:
            for one in self.writer.adapters:
                one.on = True


def judged(writer: Writer, of: Sequence[Asked], at_once: int = 50) -> tuple[float, float]:
    """Exact match and F1 of greedy answers."""
    said = [a for i in range(0, len(of), at_once) for a in writer.greedy(of[i : i + at_once])]
    texts = [writer.text(action) for action in said]
    exact = [exact_match(text, one.gold) for text, one in zip(texts, of, strict=True)]
    f1 = [token_f1(text, one.gold) for text, one in zip(texts, of, strict=True)]
    return float(np.mean(exact)), float(np.mean(f1))


def tune(writer: Writer, of: Sequence[Asked], how: GRPO, seed: int, each: Any = None) -> list[Step]:
    """GRPO on exact match."""
    reward = one_step(lambda state, action: exact_match(writer.text(action), state.gold))
    return grpo(writer, of, reward, how, reference=Reference(writer), seed=seed, each=each)


def load(device: str) -> tuple[Any, Any]:
    """The model and its tokenizer, from this machine alone.

    Raises
    ------
    MissingExtra: transformers is not installed. ModelNotFound: the weights are not here.
    """
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "torch") from None
    name = os.environ.get(VARIABLE, MODEL)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(name, local_files_only=True, torch_dtype=torch.bfloat16)
    except OSError:
        raise ModelNotFound(
            "The weights of SmolLM2-135M-Instruct are not on this machine.", f"Name their folder in {VARIABLE}."
        ) from None
    return model.to(device).eval(), tokenizer


def run_gpu(seed: int, progress: Progress) -> Report:
    """Tune the model, and judge it on questions that it was not tuned on. Raises `InvalidInput` without a GPU."""
    if not torch.cuda.is_available():
        raise InvalidInput("The size gpu needs a GPU that PyTorch can use.", "Use cpu.")
    model, tokenizer = load("cuda")
    torch.manual_seed(seed)
    writer = Writer(model, tokenizer, adapt(model), "cuda")
    train, test = questions(TRAIN, seed), questions(TEST, seed + 1)
    progress("before tuning", 0.0)
    before = judged(writer, test)
    log = tune(writer, train, HOW, seed, lambda step: progress("tuning", (step.update + 1) / (HOW.updates + 2)))
    after = judged(writer, test)
    return report_of(seed, before, after, log)


def report_of(seed: int, before: tuple[float, float], after: tuple[float, float], log: Sequence[Step]) -> Report:
    """What the run showed."""
    rewards = np.array([step.reward for step in log])

    def draw(axes: Any) -> None:
        smooth = np.convolve(np.pad(rewards, (4, 0), mode="edge"), np.ones(5) / 5, mode="valid")
        axes.plot(np.arange(len(rewards)), smooth)
        axes.set_xlabel("update")
        axes.set_ylabel("exact match in training")

    return Report(
        paper=paper(65),
        size="gpu",
        seeds=(seed,),
        claim="A language model tuned by GRPO on exact match answers better from retrieved memories.",
        setup=(
            f"SmolLM2-135M-Instruct with adapters of rank {RANK}, {HOW.updates} updates of {HOW.batch} questions with "
            f"{HOW.group} answers each, at most {TOKENS} tokens, reward exact match. Questions on generated people "
            f"with five to ten memories in the prompt; {TEST} held-out ones."
        ),
        tables=[
            Table(
                f"Greedy answers to {TEST} held-out questions",
                ("model", "exact match", "F1"),
                [("untuned", *before), ("after GRPO", *after)],
            ),
            Table(
                "The log of every tenth update",
                ("update", "reward", "KL", "entropy", "clipped", "dead groups"),
                [(s.update, s.reward, s.kl, s.entropy, s.clip_fraction, s.dead_groups) for s in log[::10]],
            ),
        ],
        claims=[Claim("exact match after over before", after[0] - before[0], 0.10, paper="F1 30.4 to 45.0 (8B)")],
        figures=[Figure("reward", "Exact match of sampled answers, mean of five updates.", draw, "Reward by update")],
        notes=[
            "Untuned, the model answers in sentences, so that its exact match says little: part of the gain is form.",
            "The loop is `halflife.rl.grpo` with adapters of its own; the paper's was a framework for larger models.",
            "Not run: LoCoMo's questions, whose exact match a model of this size does not reach.",
        ],
    )
