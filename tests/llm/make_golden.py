"""Makes golden.npz: the vectors of sentence-transformers itself for the sample texts.

Run it where sentence-transformers is installed, with a directory that holds the official model:

    python tests/llm/make_golden.py MODEL_DIRECTORY
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sample_texts import TEXTS
from sentence_transformers import SentenceTransformer

if __name__ == "__main__":
    model = SentenceTransformer(sys.argv[1], device="cpu")
    assert model.max_seq_length == 256
    vectors = model.encode(TEXTS, normalize_embeddings=True, batch_size=1)
    made_by = f"sentence-transformers {version('sentence-transformers')}, torch {version('torch')}"
    np.savez_compressed(Path(__file__).parent / "golden.npz", vectors=vectors, made_by=made_by)
    print(vectors.shape, made_by)
