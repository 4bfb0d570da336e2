"""The registry: complete, unambiguous, helpful when asked for what is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from halflife.errors import InvalidInput
from halflife.papers import load, paper, papers, papers_table, resolve


def test_the_list_has_65_papers_in_order():
    assert [entry.number for entry in papers()] == list(range(1, 66))


@pytest.mark.parametrize("field", ["slug", "name", "title", "arxiv", "folder"])
def test_what_names_a_paper_is_unique_and_not_empty(field):
    values = [getattr(entry, field) for entry in papers()]
    assert all(value == value.strip() != "" for value in values)
    assert len({value.casefold() for value in values}) == 65


def test_slugs_can_be_folder_names():
    for entry in papers():
        assert entry.slug.isascii()
        assert entry.slug.replace("-", "").isalnum()
        assert entry.slug == entry.slug.lower()


def test_years_agree_with_arxiv_ids():
    for entry in papers():
        # An id is given in the month of submission or, at a year's end, in the next.
        assert 2000 + int(entry.arxiv[:2]) - entry.year in (0, 1)


def test_a_paper_has_code_exactly_when_it_is_available():
    for entry in papers():
        assert entry.status in ("available", "planned")
        assert bool(entry.component) == bool(entry.reproduction) == (entry.status == "available")


def test_definitions_of_our_own_are_marked():
    assert [entry.number for entry in papers() if entry.definition == "project"] == [13, 26, 46]


@pytest.mark.parametrize("key", [19, "19", "memorybank", "19-memorybank", " MemoryBank "])
def test_a_paper_is_found_by_any_of_its_names(key):
    assert paper(key).number == 19


@pytest.mark.parametrize(
    ("key", "hint"),
    [("memorybnk", "memorybank"), ("titan", "titans"), (0, "1 to 65"), ("66", "1 to 65"), ("", "1 to 65")],
)
def test_an_unknown_paper_names_the_nearest(key, hint):
    with pytest.raises(InvalidInput, match=hint):
        paper(key)


def test_a_planned_paper_says_so_and_names_those_available():
    with pytest.raises(InvalidInput, match=r"Titans .*planned.*memorybank"):
        load(paper("titans"))


@pytest.mark.parametrize("slug", [entry.slug for entry in papers() if entry.status == "available"])
@pytest.mark.parametrize("what", ["component", "reproduction"])
def test_import_paths_of_available_papers_resolve(slug, what):
    assert callable(resolve(paper(slug), what))


def test_the_table_filters_by_kind_and_status():
    assert len(papers_table().rows) == 65
    slugs = [row[1] for row in papers_table(kind="agent memory", status="planned").rows]
    assert "mem-alpha" in slugs
    assert "memgen" in slugs  # agent memory + sequence model
    assert "memorybank" not in slugs
    with pytest.raises(InvalidInput, match="agent memory"):
        papers_table(kind="agents")
    with pytest.raises(InvalidInput, match="planned"):
        papers_table(status="done")


def test_listing_the_papers_imports_nothing_heavy():
    code = (
        "import sys, halflife.papers as p; p.papers_table();"
        "print([m for m in ('numpy', 'matplotlib', 'torch', 'halflife.store') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
