"""Fuzzing by coverage, with Atheris (extra `fuzz`): every target in a process of its own.

python -m tests.fuzz --seconds 3600            all targets, one after the other, within an hour
python -m tests.fuzz imports --seconds 600     one of them
python -m tests.fuzz --together --seconds 10   all of them in one process

What is new is kept in FOLDER/TARGET/corpus; what broke, in FOLDER/TARGET/findings.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

TOGETHER = "together"
LONGEST = 20_000  # bytes of an example


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help="which; all by default")
    parser.add_argument("--seconds", type=int, default=3600, help="for all of them")
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    parser.add_argument("--together", action="store_true", help="in one process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        fuzz(given.child, given.seconds, given.folder, given.seed)
    if importlib.util.find_spec("atheris") is None:
        parser.error("Atheris is not installed: pip install 'halflife[fuzz]' (on Linux)")
    from tests.fuzz.targets import TARGETS

    names = [TOGETHER] if given.together else given.targets or list(TARGETS)
    if unknown := set(names) - {*TARGETS, TOGETHER}:
        parser.error(f"there is no target {min(unknown)}; choose of {', '.join(TARGETS)}")
    each = max(1, given.seconds // len(names))
    found = [name for name in names if not report(name, each, given.folder, given.seed)]
    print(f"findings in {', '.join(found)}" if found else "no findings")
    return 1 if found else 0


def report(name: str, seconds: int, folder: Path, seed: int) -> bool:
    """Fuzz one target in a process of its own, and say how often it ran. Returns whether nothing was found."""
    command = [sys.executable, "-m", "tests.fuzz", "--child", name, "--seconds", str(seconds), "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--seed", str(seed)], capture_output=True, text=True, errors="replace", check=False
    )
    ran = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr) or re.findall(r"#(\d+)", done.stderr)
    print(f"{name}: {int(ran[-1]) if ran else 0:,} executions in {seconds} s, exit {done.returncode}", flush=True)
    if done.returncode:
        print(done.stderr[-4000:])
    return done.returncode == 0


def fuzz(name: str, seconds: int, folder: Path, seed: int) -> None:
    """Fuzz a target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["halflife.agent", "halflife.store", "halflife.probe", "halflife.cli"]):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.mutate import mutate

    chosen = list(TARGETS.values()) if name == TOGETHER else [TARGETS[name]]

    def run(data: bytes) -> None:
        if name != TOGETHER:
            chosen[0].run(data)
        elif data:
            chosen[data[0] % len(chosen)].run(data[1:])

    def change(data: bytes, longest: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        head = data[:1] if name == TOGETHER else b""
        others = chosen[data[0] % len(chosen)].seeds if head else chosen[0].seeds
        return (head + mutate(data[len(head) :], random, others))[:longest]

    examples = [
        (bytes([number]) if name == TOGETHER else b"") + seed_
        for number, target in enumerate(chosen)
        for seed_ in target.seeds
    ]
    atheris.Setup([sys.argv[0], *_arguments(folder / name, seconds, seed, examples)], run, custom_mutator=_safe(change))
    atheris.Fuzz()


def _arguments(folder: Path, seconds: int, seed: int, examples: Sequence[bytes]) -> list[str]:
    corpus, findings = folder / "corpus", folder / "findings"
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(examples):
        (corpus / f"example-{number}").write_bytes(example)
    return [
        f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LONGEST}", f"-artifact_prefix={findings}/",
        "-print_final_stats=1", "-timeout=60", str(corpus),
    ]  # fmt: skip


def _safe(change: Any) -> Any:
    """A mutation never gives nothing: the library takes that for an error."""
    return lambda data, longest, seed: change(data, longest, seed) or b"\n"


if __name__ == "__main__":
    sys.exit(main())
