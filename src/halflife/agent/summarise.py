"""A short text made of a longer one's own sentences.

The summary of a text is the sentences nearest to its centre (Radev et al., "Centroid-based summarization of multiple
documents", 2004), which says nothing that was not said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halflife.agent.thoughts import sentences
from halflife.llm.embedder import Embedder


def central(texts: Sequence[str], embedder: Embedder, count: int = 3) -> list[str]:
    """The sentences nearest to the centre of all of them, in the order in which they stand.

    Parameters
    ----------
    texts: what is to be summarised, in order.
    embedder: gives the vectors of sentences and, as their mean, the centre.
    count: how many sentences at most. A sentence that occurs twice counts once.

    >>> from halflife.llm import HashEmbedder
    >>> central(["Anna likes tea. It rains.", "Anna likes green tea."], HashEmbedder(), count=2)
    ['Anna likes tea.', 'Anna likes green tea.']
    """
    parts = list(dict.fromkeys(part for text in texts for part in sentences(text)))
    if len(parts) <= count:
        return parts
    vectors = embedder.embed(parts)
    best = np.argsort(-(vectors @ vectors.mean(axis=0)), kind="stable")[:count]
    return [parts[i] for i in sorted(best.tolist())]
