"""Importing is light: no framework, no waiting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = (
    *("torch", "transformers", "sentence_transformers", "onnxruntime", "tokenizers", "usearch", "scipy", "matplotlib"),
    *("openai", "fastapi", "starlette", "flask", "django", "aiohttp", "requests", "httpx", "sqlite3"),
)
PROMISE = 0.2  # seconds

MODULES = "import sys, halflife; print(*sorted(sys.modules))"
SECONDS = "import time; start = time.perf_counter(); import halflife; print(time.perf_counter() - start)"
FIRST_USE = """
import time; start = time.perf_counter()
from halflife import Memory
memory = Memory(sys.argv[1], embedder="hash")
memory.add("The key is under the mat."); [hit] = memory.search("key"); memory.close()
print(time.perf_counter() - start)
"""


def python(code: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_import_loads_nothing_heavy() -> None:
    assert not set(HEAVY) & set(python(MODULES).split())


def test_import_takes_no_time() -> None:
    best = min(float(python(SECONDS)) for _ in range(5))
    print(f"import halflife: {best * 1000:.0f} ms")
    assert best < PROMISE


def test_first_use_in_a_new_process(tmp_path: Path) -> None:
    seconds = float(python("import sys" + FIRST_USE, str(tmp_path / "first.db")))
    print(f"first add and search in a new process: {seconds:.2f} s")
