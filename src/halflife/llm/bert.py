"""The BERT encoder of all-MiniLM-L6-v2 as an ONNX graph: 6 layers, 12 heads, mean pooling, unit length.

Devlin et al., "BERT" (arXiv 1810.04805) for the encoder; Wang et al., "MiniLM" (arXiv 2002.10957) for its
size; Reimers & Gurevych, "Sentence-BERT" (arXiv 1908.10084), section 3, for the pooling.

The graph is written in onnxruntime's fused operators, so that a session starts without searching for fusions.
Padding is masked twice: in attention and in pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.llm.onnx_graph import CONTRIB, Graph

Weights: TypeAlias = Mapping[str, NDArray[Any]]

LAYERS, HEADS, DIM, POSITIONS = 6, 12, 384, 512
_EPSILON = 1e-12
_BLOCK = 32  # weights that share one scale in the int8 form

MatMul: TypeAlias = Callable[[Graph, str, str, NDArray[Any]], str]


def matmul_fp32(graph: Graph, name: str, x: str, weight: NDArray[Any]) -> str:
    """x @ weight.T for a weight of shape [out, in]."""
    return graph.add("MatMul", name, [x, graph.weight(f"{name}.weight", weight.T)])


def matmul_int8(graph: Graph, name: str, x: str, weight: NDArray[Any]) -> str:
    """The same with 8-bit weights; activations are rounded to 8 bits too, a block of one row at a time.

    Because no scale is shared between rows, a vector does not depend on what else is in the batch.
    """
    out, size = weight.shape
    blocks = weight.reshape(out, size // _BLOCK, _BLOCK)
    scale = np.maximum(np.abs(blocks).max(axis=2, keepdims=True) / 127, np.float32(1e-12))
    packed = (np.rint(blocks / scale) + 128).astype(np.uint8)
    inputs = [
        x,
        graph.weight(f"{name}.packed", packed),
        graph.weight(f"{name}.scale", scale.astype(np.float32).reshape(-1)),
    ]
    return graph.add(
        "MatMulNBits",
        name,
        inputs,
        domain=CONTRIB,
        K=size,
        N=out,
        bits=8,
        block_size=_BLOCK,
        accuracy_level=4,
    )


def encoder(weights: Weights, matmul: MatMul = matmul_fp32) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """The model's bytes, and the weights that its session needs.

    Parameters
    ----------
    weights: the tensors of `model.safetensors` by name.
    matmul: how a dense layer is computed, `matmul_fp32` or `matmul_int8`.

    The graph maps `ids` and `mask`, both [batch, tokens] int32 (mask: 1 for a token, 0 for padding, which
    must be on the right), to `vectors` [batch, 384] float32.
    """
    graph = Graph()
    x = _embeddings(graph, weights)
    for layer in range(LAYERS):
        x = _layer(graph, weights, f"encoder.layer.{layer}", x, matmul)
    # The sum over tokens stands for their mean: they have the same direction, and only that is kept.
    axis = graph.add("Constant", "axis", [], value_ints=[1])
    rows = graph.add("Unsqueeze", "mask.rows", [graph.add("Cast", "mask.float", ["mask"], to=1), axis])
    summed = graph.add("Squeeze", "summed", [graph.add("MatMul", "pooled", [rows, x]), axis])
    graph.add("LpNormalization", "vectors", [summed], axis=1, p=2)
    tokens = (np.int32, ["batch", "tokens"])
    model = graph.model({"ids": tokens, "mask": tokens}, {"vectors": (np.float32, ["batch", DIM])})
    return model, graph.weights


def _embeddings(graph: Graph, weights: Weights) -> str:
    w = {key: weights[f"embeddings.{key}.weight"] for key in ("word_embeddings", "LayerNorm")}
    # All tokens are of type 0 here, so the type's vector is folded into the positions.
    positions = (
        weights["embeddings.position_embeddings.weight"]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    inputs = [
        "ids",
        "",
        graph.weight("words", w["word_embeddings"]),
        graph.weight("positions", positions),
        "",
        graph.weight("embeddings.norm.weight", w["LayerNorm"]),
        graph.weight("embeddings.norm.bias", weights["embeddings.LayerNorm.bias"]),
        "mask",
    ]
    # The second output counts each row's tokens, which is the form in which attention takes its mask.
    return graph.add(
        "EmbedLayerNormalization", "embeddings", inputs, "lengths", domain=CONTRIB, epsilon=_EPSILON
    )


def _layer(graph: Graph, weights: Weights, at: str, x: str, matmul: MatMul) -> str:
    parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
    bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
    query, key, value = (matmul(graph, part, x, weights[f"{part}.weight"]) for part in parts)
    inputs = [query, key, value, graph.weight(f"{at}.attention.bias", bias), "lengths"]
    attended = graph.add("MultiHeadAttention", f"{at}.attended", inputs, domain=CONTRIB, num_heads=HEADS)
    x = _dense_and_norm(graph, weights, f"{at}.attention.output", attended, x, matmul)
    inner = matmul(graph, f"{at}.inner", x, weights[f"{at}.intermediate.dense.weight"])
    inner_bias = graph.weight(f"{at}.inner.bias", weights[f"{at}.intermediate.dense.bias"])
    active = graph.add("BiasGelu", f"{at}.active", [inner, inner_bias], domain=CONTRIB)
    return _dense_and_norm(graph, weights, f"{at}.output", active, x, matmul)


def _dense_and_norm(graph: Graph, weights: Weights, at: str, x: str, skip: str, matmul: MatMul) -> str:
    dense = matmul(graph, f"{at}.dense", x, weights[f"{at}.dense.weight"])
    inputs = [dense, skip]
    for name in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias"):
        inputs.append(graph.weight(f"{at}.{name}", weights[f"{at}.{name}"]))
    return graph.add("SkipLayerNormalization", f"{at}.normed", inputs, domain=CONTRIB, epsilon=_EPSILON)


MATMULS: Mapping[str, MatMul] = {"fp32": matmul_fp32, "int8": matmul_int8}
