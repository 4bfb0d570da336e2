"""Seconds per training step and final accuracy of the same method in Halflife and in Avalanche, and in Mammoth.

The same data, class order, network, initial weights, learning rate, batch and number of steps; one after another in
every round, so that a slow minute of the machine falls on all. Mammoth runs from a checkout of yours:

    python continual.py --mammoth ~/mammoth

Where the libraries differ by design: Avalanche's replay fills its memory at the end of a task and draws batches from a
data loader; its DER++ makes one forward pass of new and old examples together, with one draw from the memory. Halflife
and Mammoth fill theirs with every step, and make three passes with two draws.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from halflife.continual import ER, MLP, DERpp, Scenario, class_incremental, load, run
from halflife.continual.data import folders
from halflife.continual.seeds import derive

TARGET = 0.7  # of Avalanche's time per step
CAPACITY = 200
LR = {"er": 0.01, "der++": 0.03}
ALPHA, BETA = 0.2, 1.0
BATCH = 10


@dataclass(frozen=True)
class Measured:
    """One run: seconds of training for each step, and the accuracy on the tests of all classes."""

    step: float
    accuracy: float


def steps_of(scenario: Scenario, seed: int) -> int:
    return sum(-(-len(task.train) // BATCH) for task in scenario.stream(seed))


def halflife(method: str, scenario: Scenario, seed: int) -> Measured:
    learner: Any = ER(capacity=CAPACITY, lr=LR["er"])
    if method == "der++":
        learner = DERpp(capacity=CAPACITY, lr=LR["der++"], alpha=ALPHA, beta=BETA)
    results = run(scenario, learner, [seed], batch_size=BATCH, model=MLP((100, 100)))
    return Measured(results.runs[0].seconds / results.runs[0].updates, results["accuracy"][0])


def avalanche(method: str, scenario: Scenario, seed: int) -> Measured:
    from avalanche.benchmarks import tensors_benchmark
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.supervised import DER, Naive

    stream = scenario.stream(seed)
    tensors = [task.train.all() for task in stream]
    benchmark = tensors_benchmark(
        train_tensors=tensors, test_tensors=[test.all() for test in stream.tests], task_labels=[0] * len(tensors)
    )
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "weights", 0))  # as `run` draws them
        model = MLP((100, 100)).build(stream.shape, stream.n_classes)
    torch.manual_seed(seed)
    common = {
        "model": model, "train_mb_size": BATCH, "train_epochs": 1, "eval_mb_size": 1024, "device": "cpu",
        "optimizer": torch.optim.SGD(model.parameters(), lr=LR[method]), "evaluator": EvaluationPlugin(),
    }  # fmt: skip
    if method == "er":
        memory = ReplayPlugin(CAPACITY, BATCH, BATCH, storage_policy=ReservoirSamplingBuffer(CAPACITY))
        strategy = Naive(criterion=torch.nn.CrossEntropyLoss(), plugins=[memory], **common)
    else:
        strategy = DER(mem_size=CAPACITY, batch_size_mem=BATCH, alpha=ALPHA, beta=BETA, **common)
    start = time.perf_counter()
    for experience in benchmark.train_stream:
        strategy.train(experience, num_workers=0, drop_last=False)
    seconds = time.perf_counter() - start
    return Measured(seconds / steps_of(scenario, seed), _accuracy(model, scenario, seed))


@torch.no_grad()
def _accuracy(model: torch.nn.Module, scenario: Scenario, seed: int) -> float:
    model.eval()
    each = []
    for test in scenario.stream(seed).tests:
        x, y = test.all()
        each.append(float((model(x).argmax(1) == y).double().mean()))
    return statistics.fmean(each)


def mammoth(checkout: Path, work: Path) -> Callable[[str, Scenario, int], Measured]:
    """Runs of Mammoth's own command line; a run of one epoch more tells a step from the start of the program."""
    raw = work / "MNIST" / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        source = next(place / f"{name}-ubyte.gz" for place in folders("mnist") if (place / f"{name}-ubyte.gz").exists())
        (raw / f"{name}-ubyte.gz").write_bytes(source.read_bytes())

    def once(method: str, seed: int, epochs: int) -> tuple[float, float]:
        words = [
            sys.executable, "main.py", "--dataset", "seq-mnist", "--model", {"er": "er", "der++": "derpp"}[method],
            "--buffer_size", str(CAPACITY), "--lr", str(LR[method]), "--batch_size", str(BATCH), "--minibatch_size",
            str(BATCH), "--n_epochs", str(epochs), "--seed", str(seed), "--base_path", f"{work}/", "--disable_log", "1",
            "--num_workers", "0", "--device", "cpu", "--permute_classes", "1",
            *(["--alpha", str(ALPHA), "--beta", str(BETA)] if method == "der++" else []),
        ]  # fmt: skip
        start = time.perf_counter()
        done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        found = re.findall(r"\[Class-IL\]:\s*([\d.]+)\s*%", done.stdout + done.stderr)
        if done.returncode or not found:
            raise SystemExit(f"Mammoth failed ({done.returncode}): {(done.stderr or done.stdout)[-2000:]}")
        return seconds, float(found[-1]) / 100

    def measure(method: str, scenario: Scenario, seed: int) -> Measured:
        one, accuracy = once(method, seed, 1)
        two, _ = once(method, seed, 2)
        return Measured((two - one) / steps_of(scenario, seed), accuracy)

    return measure


def table(found: dict[str, dict[str, list[Measured]]]) -> list[str]:
    lines = ["| method | library | ms a step, median | against Avalanche, median of pairs | final accuracy |",
             "|---|---|---:|---:|---:|"]  # fmt: skip
    for method, libraries in found.items():
        for library, runs in libraries.items():
            step = statistics.median(one.step for one in runs) * 1000
            pairs = [a.step / b.step for a, b in zip(runs, libraries["Avalanche"], strict=True)]
            accuracy = [one.accuracy for one in runs]
            spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
            lines.append(f"| {method} | {library} | {step:.3f} | {statistics.median(pairs):.2f} "
                         f"| {statistics.fmean(accuracy):.3f} ± {spread:.3f} |")  # fmt: skip
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", choices=["digits", "mnist", "fashion-mnist"])
    parser.add_argument("--methods", default="er,der++")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs, each with its own seed")
    parser.add_argument("--per-class", type=int, help="only so many training examples of each class")
    parser.add_argument("--mammoth", type=Path, metavar="CHECKOUT", help="measure Mammoth too (MNIST, whole)")
    parser.add_argument("--work", type=Path, default=Path("../.bench-continual/mammoth"), help="Mammoth's data")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    if args.mammoth and (args.data != "mnist" or args.per_class):
        parser.error("Mammoth's Split-MNIST is the whole of it: use --data mnist without --per-class")
    data = load(args.data)
    scenario = class_incremental(data if args.per_class is None else data.take(args.per_class))
    libraries: dict[str, Callable[[str, Scenario, int], Measured]] = {"Halflife": halflife, "Avalanche": avalanche}
    if args.mammoth:
        libraries["Mammoth"] = mammoth(args.mammoth.resolve(), args.work.resolve())
    found: dict[str, dict[str, list[Measured]]] = {}
    for method in args.methods.split(","):
        found[method] = {name: [] for name in libraries}
        for seed in range(args.rounds):
            for name, measure in libraries.items():
                one = measure(method, scenario, seed)
                found[method][name].append(one)
                print(f"{method} seed {seed} {name}: {one.step * 1000:.3f} ms a step, accuracy {one.accuracy:.3f}",
                      file=sys.stderr, flush=True)  # fmt: skip
    lines = [
        f"{scenario.name}, {len(scenario.data.train):,} examples, buffer {CAPACITY}, batch {BATCH} and {BATCH} from "
        f"memory, one epoch, MLP 100-100, SGD ({', '.join(f'{k} {v}' for k, v in LR.items())}), {args.rounds} seeds; "
        f"{os.cpu_count()} cores, {platform.machine()}, {torch.get_num_threads()} threads; torch {torch.__version__}, "
        f"avalanche-lib {importlib.metadata.version('avalanche-lib')}.",
        "",
        *table(found),
    ]
    for method, runs in found.items():
        ratio = statistics.median(a.step / b.step for a, b in zip(runs["Halflife"], runs["Avalanche"], strict=True))
        lines.append(f"\n{method}: {ratio:.2f} of Avalanche's time per step (target {TARGET}): "
                     f"{'met' if ratio <= TARGET else 'missed'}.")  # fmt: skip
    text = "\n".join(lines) + "\n"
    print(text)
    if args.markdown:
        args.markdown.write_text(text)
    if args.json:
        plain = {m: {n: [vars(one) for one in runs] for n, runs in by.items()} for m, by in found.items()}
        args.json.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
