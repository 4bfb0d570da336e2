"""`run(scenario, method, seeds)`: train, test, count, and give back every number."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from halflife.continual.evaluator import Evaluator
from halflife.continual.examples import Examples, joined
from halflife.continual.files import replacing
from halflife.continual.method import Batch, Context, Learner
from halflife.continual.networks import Model, resolve
from halflife.continual.results import Results, Run, config_hash
from halflife.continual.scenario import Experience, Scenario, Stream
from halflife.continual.seeds import derive, generator
from halflife.continual.transforms import Augment
from halflife.errors import InvalidInput

Progress: TypeAlias = Callable[[str, float], None]
"""Called with what is being done and the share of the run that is done, in [0, 1]."""
FORMAT = 1  # of checkpoints


def run(
    scenario: Scenario,
    method: Learner,
    seeds: int | Iterable[int] = 1,
    *,
    model: Model = "mlp",
    epochs: int = 1,
    batch_size: int = 10,
    augment: Augment | None = None,
    evaluate_every: int | None = None,
    evaluate_tasks_every: int = 1,
    subset: int | None = 1000,
    device: torch.device | str = "cpu",
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Train a method on a scenario, once for each seed.

    Parameters
    ----------
    scenario: what is shown and asked. method: what learns; it is copied for each seed and stays as it is.
    seeds: how many (from 0), or which. The seed decides on the weights, the order of classes and examples, and the
        draws of the method.
    model: see `networks.resolve`. epochs: passes over each experience. batch_size: examples of a step.
    augment: a random change of the inputs in training (see `transforms`).
    evaluate_every: test the tasks seen so far after every so many updates too, on at most `subset` examples of each.
    evaluate_tasks_every: rows of the accuracy matrix are made after every so many experiences, and after the last; for
        streams of thousands.
    device: where the model and the data are.
    checkpoint: a folder in which each seed is kept after every experience (and after every `checkpoint_every` updates);
        the same call again goes on from there, and gives bit for bit what a run without interruption gives.
    progress: called with what is being done and the share that is done.

    Raises
    ------
    InvalidInput: settings that cannot be run, each with what to do. Diverged: the loss is no longer finite.

    >>> from halflife.continual import ER, class_incremental, load
    >>> results = run(class_incremental(load("digits")), ER(capacity=50, lr=0.1), seeds=1, batch_size=16)
    >>> results.mean_matrix().shape, 0.2 < results["accuracy"][0] <= 1
    ((6, 5), True)
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    counts = (len(numbers), epochs, batch_size, evaluate_tasks_every, 1 if evaluate_every is None else evaluate_every)
    if min(counts) < 1:
        raise InvalidInput(
            f"{len(numbers)} seeds, {epochs} epochs, batches of {batch_size}, tests every {evaluate_every} updates and "
            f"every {evaluate_tasks_every} tasks: there is nothing to run.",
            "Use 1 or more of each.",
        )
    build = resolve(model)
    config = {
        "scenario": scenario.described(), "learner": method.config(), "model": model if isinstance(model, str) else
        repr(model), "epochs": epochs, "batch_size": batch_size, "augment": repr(augment) if augment else None,
        "evaluate_every": evaluate_every, "evaluate_tasks_every": evaluate_tasks_every, "subset": subset,
        "device": str(device), "torch": torch.__version__,
    }  # fmt: skip
    folder = None if checkpoint is None else Path(checkpoint)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for number, seed in enumerate(numbers):
        one = _Training(
            scenario.stream(seed), copy.deepcopy(method), seed, build, epochs, batch_size, augment, evaluate_every,
            evaluate_tasks_every, subset, torch.device(device), config_hash(config),
            None if folder is None else folder / f"seed-{seed}.pt", checkpoint_every,
            _part(progress, number, len(numbers)),
        )  # fmt: skip
        runs.append(one.run())
    return Results(config, runs)


def _part(progress: Progress | None, number: int, count: int) -> Progress:
    def tell(step: str, share: float) -> None:
        if progress is not None:
            progress(step, (number + share) / count)

    return tell


class _Training:
    """One seed, from the first example to the last test."""

    def __init__(
        self, stream: Stream, learner: Learner, seed: int, build: Callable[[tuple[int, ...], int], nn.Module],
        epochs: int, batch_size: int, augment: Augment | None, every: int | None, tasks_every: int,
        subset: int | None, device: torch.device, config: str, path: Path | None, save_every: int | None,
        progress: Progress,
    ) -> None:  # fmt: skip
        if stream.single_pass and epochs != 1:
            raise InvalidInput(f"{epochs} epochs of a stream that passes once.", "Use epochs=1, or not online.")
        if learner.needs_boundaries and not stream.boundaries:
            raise InvalidInput(
                f"{type(learner).__name__} has to be told when a task ends, and this stream does not tell.",
                "Use a method such as ER or DERpp, or a scenario with boundaries.",
            )
        if stream.kind in learner.expected and seed == 0:
            warnings.warn(learner.expected[stream.kind], stacklevel=4)
        self.stream, self.learner, self.seed = stream, learner, seed
        self.epochs, self.batch_size, self.device, self.tasks_every = epochs, batch_size, device, tasks_every
        self.placed: tuple[Examples, Examples] | None = None  # as the stream has them, and on the device
        self.config, self.path, self.save_every, self.progress = config, path, save_every, progress
        self.random = torch.get_rng_state()  # the caller's, put back at the end
        self.evaluator = Evaluator(stream, every=every, subset=subset, seed=seed, device=device)
        self.meter = _Meter()
        self.seconds = 0.0
        self.updates = 0

        def fresh(number: int) -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "weights", number))
                model = build(stream.shape, stream.n_classes).to(device)
            getattr(model, "body", model).register_forward_pre_hook(self.meter)
            return model

        rng = generator(seed, "method")
        model = fresh(0)
        self._check(model)
        learner.setup(
            Context(
                model, stream.n_classes, stream.kind, stream.boundaries, batch_size, epochs, rng,
                (lambda x: x) if augment is None else (lambda x: augment(x, rng)), fresh, device,
            )
        )  # fmt: skip

    def _check(self, model: nn.Module) -> None:
        """A model that does not take the inputs is found before the training, not within it."""
        x, _ = self.evaluator.tests[0].batch(torch.arange(1, device=self.device))
        training = model.training
        try:
            with torch.no_grad():
                found = model.eval()(x)
        except RuntimeError as error:
            raise InvalidInput(f"The model does not take inputs of shape {tuple(x.shape[1:])} ({error}).") from error
        model.train(training)
        if found.shape != (1, self.stream.n_classes):
            raise InvalidInput(
                f"The model gives {tuple(found.shape)} for one example of {self.stream.n_classes} classes.",
                f"It should give logits [B, {self.stream.n_classes}].",
            )

    def run(self) -> Run:
        """Train and test."""
        try:
            torch.manual_seed(derive(self.seed, "layers"))  # of dropout
            start, skip = self._resumed()
            if start < 0:
                self.evaluator.after_task(self.learner, -1)
                start = 0
            past = [self.stream[i].train for i in range(start)] if self.learner.trains_on == "seen" else []
            for index in range(start, len(self.stream)):
                self._experience(index, past, skip)
                skip = 0
            return self._result()
        finally:
            torch.set_rng_state(self.random)

    def _experience(self, index: int, past: list[Examples], skip: int) -> None:
        task = self.stream[index]
        if self.learner.trains_on == "seen":
            past.append(task.train)
            task = Experience(index, joined(past), task.seen, task.seen)
        task = Experience(index, self._here(task.train), task.classes, task.seen)
        if not skip:
            with self._training():
                if self.stream.boundaries:
                    self.learner.before_task(task)
        for done, positions in enumerate(self._order(task)):
            if done < skip:
                continue
            with self._training():
                logged = self.learner.observe(self._batch(task, positions))
            self.updates += 1
            self.evaluator.after_update(self.learner, self.updates, index, logged)
            if self.path is not None and self.save_every and self.updates % self.save_every == 0:
                self._save(index, done + 1)
        with self._training():
            if self.stream.boundaries:
                self.learner.after_task(task)
            last = index == len(self.stream) - 1
            if last:
                self.learner.finish()
            due = last or (index + 1) % self.tasks_every == 0
            if due:
                self.learner.before_evaluation()
        if due:
            self.evaluator.after_task(self.learner, index)
        self._save(index + 1, 0)

    def _here(self, part: Examples) -> Examples:
        """Examples on the device. Experiences are rows of one data set, which is moved once."""
        if self.placed is None or self.placed[0].x is not part.x or self.placed[0].y is not part.y:
            self.placed = part, part.to(self.device)
        whole = self.placed[1]
        view = None if part.view is None else part.view.to(self.device)
        return replace(part, x=whole.x, y=whole.y, index=part.index.to(self.device), view=view)

    def _order(self, task: Experience) -> Iterator[Tensor]:
        rng = generator(self.seed, "order", task.index)
        order = self.learner.order(len(task.train), self.epochs, self.batch_size, rng, self.stream.shuffle)
        total = self.epochs * -(-len(task.train) // self.batch_size)
        for done, positions in enumerate(order):
            if done % 16 == 0:
                share = task.index + min(1.0, done / total)
                self.progress(f"task {task.index + 1} of {len(self.stream)}", share / len(self.stream))
            yield positions

    def _batch(self, task: Experience, positions: Tensor) -> Batch:
        positions = positions.to(self.device)
        raw, y = task.train.batch(positions)
        told = task.index if self.stream.boundaries else None
        return Batch(self.learner.views(raw), y, raw, task.train.index[positions], told)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Seconds and passes of what stands within count as training."""
        start = time.perf_counter()
        self.meter.on = True
        try:
            yield
        finally:
            self.meter.on = False
            self.seconds += time.perf_counter() - start

    def _result(self) -> Run:
        inner = getattr(self.learner, "inner", self.learner)
        buffer = getattr(self.learner, "buffer", getattr(inner, "buffer", None))  # a wrapper may have its own
        held = {} if buffer is None else {"examples": len(buffer), "bytes": buffer.nbytes}
        scores = self.evaluator.scores
        return Run(
            self.seed, np.array(scores.seen), np.array(scores.told), tuple(scores.curve), self.updates, self.seconds,
            dict(self.meter.passes), held, tuple(scores.logged), tuple(scores.after),
        )  # fmt: skip

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def _save(self, index: int, skip: int) -> None:
        """Keep everything, to go on at batch `skip` of experience `index`."""
        if self.path is None:
            return
        state = {
            "format": FORMAT, "config": self.config, "index": index, "skip": skip, "updates": self.updates,
            "seconds": self.seconds, "passes": self.meter.passes, "learner": self.learner.state_dict(),
            "evaluator": self.evaluator.state_dict(), "rng": torch.get_rng_state(),
            "method_rng": self.learner.context.generator.get_state(),  # type: ignore[attr-defined]
        }  # fmt: skip
        with replacing(self.path) as part:
            torch.save(state, part)

    def _resumed(self) -> tuple[int, int]:
        """Where to begin: (-1, 0) at the beginning, otherwise an experience and a batch of it."""
        if self.path is None or not self.path.exists():
            return -1, 0
        state: Mapping[str, Any] = torch.load(self.path, weights_only=True, map_location=self.device)
        if state.get("format") != FORMAT or state["config"] != self.config:
            raise InvalidInput(
                f"{self.path} is of a run with other settings.", "Name another folder for checkpoints, or delete it."
            )
        self.learner.load_state_dict(state["learner"])
        self.learner.context.generator.set_state(state["method_rng"].cpu())  # type: ignore[attr-defined]
        self.evaluator.load_state_dict(state["evaluator"])
        self.updates, self.seconds, self.meter.passes = state["updates"], state["seconds"], dict(state["passes"])
        torch.set_rng_state(state["rng"].cpu())
        return state["index"], state["skip"]


class _Meter:
    """Counts the examples that go through a network and through its copies, which share it."""

    def __init__(self) -> None:
        self.passes = {"forward": 0, "backward": 0}
        self.on = False

    def __deepcopy__(self, memo: dict[int, Any]) -> _Meter:
        return self

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self.on:
            self.passes["forward"] += len(inputs[0])
            if torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
                self.passes["backward"] += len(inputs[0])
