"""The reading list, and one reproduction a paper.

`papers()` lists the 65 papers, `paper("memorybank")` finds one, and `reproduce("memorybank")` runs its
reproduction and returns a `Report`. Nothing heavy is imported before it is needed.

>>> from halflife.papers import paper
>>> paper(19).name
'MemoryBank'
"""

from __future__ import annotations

from halflife.papers.registry import Paper, load, paper, papers, papers_table, resolve
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import SIZES, Progress, Reproduction, reproduce
from halflife.papers.table import Table

__all__ = [
    "SIZES",
    "Claim",
    "Figure",
    "Paper",
    "Progress",
    "Report",
    "Reproduction",
    "Table",
    "load",
    "paper",
    "papers",
    "papers_table",
    "reproduce",
    "resolve",
]
