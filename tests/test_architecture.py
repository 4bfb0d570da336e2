"""The arrows of import go one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import halflife

ROOT = Path(halflife.__file__).parent
ANY = None

# Package -> the parts of Halflife that its modules may import; a part is a package or a module at the top.
ALLOWED: dict[str, set[str] | None] = {
    "errors": set(),
    "decay": {"errors"},
    "llm": {"errors"},
    "rl": {"errors"},
    "continual": {"errors", "decay"},
    "store": {"errors", "decay"},
    "agent": {"errors", "decay", "store", "llm"},
    "probe": {"errors", "decay", "store", "agent", "llm"},
    "papers": ANY,
    "cli": ANY,
    "": {"errors", "agent", "store"},  # `halflife/__init__.py`
}
MAY_IMPORT_PAPERS = {"papers", "cli"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        inside = path.relative_to(ROOT)
        yield (
            ("" if inside.name == "__init__.py" and len(inside.parts) == 1 else inside.parts[0].removesuffix(".py")),
            path,
        )


def imported(path: Path) -> Iterator[str]:
    """The parts of Halflife that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            names = [f"halflife.{alias.name}" for alias in node.names] if module == "halflife" else [module]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "halflife":
                yield rest.partition(".")[0]


def test_every_package_has_its_arrows() -> None:
    assert {package for package, _ in modules()} <= ALLOWED.keys()


@pytest.mark.parametrize("package", [package for package, allowed in ALLOWED.items() if allowed is not ANY])
def test_imports_only_what_lies_below(package: str) -> None:
    allowed = ALLOWED[package]
    assert allowed is not ANY
    checked = 0
    for owner, path in modules():
        if owner == package:
            checked += 1
            wrong = set(imported(path)) - allowed - {package}
            assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"
    assert checked


def test_nothing_imports_papers_but_the_command_line() -> None:
    for owner, path in modules():
        if owner not in MAY_IMPORT_PAPERS:
            assert "papers" not in set(imported(path)), path
