"""The Python in README and docs runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from halflife.papers.gallery import page

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "systems").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(file: Path) -> list[str]:
    return BLOCK.findall(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", [file for file in PAGES if blocks(file)], ids=lambda file: file.name)
def test_python_blocks_run_in_order(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where a dataclass looks for its module
    names = vars(module)
    ran = 0
    for block in blocks(file):
        exec(compile(block, str(file), "exec", dont_inherit=True), names)
        ran += 1
    for value in list(names.values()):
        if hasattr(value, "close") and hasattr(value, "engine"):
            value.close()
    assert ran == len(blocks(file)) > 0


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_between_pages_resolve(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    missing = [target for target in targets if not (file.parent / target).exists()]
    assert not missing


def test_the_gallery_lists_the_committed_reproductions() -> None:
    root = ROOT / "docs" / "reproductions"
    assert (root / "index.md").read_text(encoding="utf-8") == page(root), "run: python -m halflife.papers.gallery"
