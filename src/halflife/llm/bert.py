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

from halflife.llm.onnx_graph import CONTRIB, FLOAT, UINT8, Graph

Weights: TypeAlias = Mapping[str, NDArray[Any]]

LAYERS, HEADS, DIM, POSITIONS = 6, 12, 384, 512
_EPSILON = 1e-12

MatMul: TypeAlias = Callable[[Graph, str, str, NDArray[Any]], str]


def matmul_fp32(graph: Graph, name: str, x: str, weight: NDArray[Any]) -> str:
    """x @ weight.T for a weight of shape [out, in]."""
    return graph.add("MatMul", name, [x, graph.weight(f"{name}.weight", weight.T)])


def matmul_int8(graph: Graph, name: str, x: str, weight: NDArray[Any]) -> str:
    """The same in 8 bits: each row of x and each output of the weight is rounded with a scale of its own.

    As no scale is shared between rows, a vector does not depend on what else is in the batch. Both sides are
    unsigned, with 128 for zero: on processors without VNNI a signed product of 8 bits can overflow.
    """
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    packed = (np.rint(weight / scale[:, None]) + 128).astype(np.uint8)
    zero = graph.weight("int8.zero", np.array(128, np.uint8))
    half = graph.weight("int8.half", np.array(128.5, np.float32))  # the cast cuts, so this rounds
    levels = graph.weight("int8.levels", np.array(127, np.float32))
    largest = graph.add("ReduceMax", f"{name}.max", [graph.add("Abs", f"{name}.abs", [x])], axes=[-1])
    step = graph.add("Div", f"{name}.step", [largest, levels])
    shifted = graph.add("Add", f"{name}.shifted", [graph.add("Div", f"{name}.steps", [x, step]), half])
    rounded = graph.add("Cast", f"{name}.rounded", [shifted], to=UINT8)
    inputs = [rounded, graph.weight(f"{name}.weight", packed.T), zero, zero]
    product = graph.add("Cast", f"{name}.float", [graph.add("MatMulInteger", f"{name}.int", inputs)], to=FLOAT)
    by_row = graph.add("Mul", f"{name}.by_row", [product, step])
    return graph.add("Mul", name, [by_row, graph.weight(f"{name}.scale", scale)])


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
    rows = graph.add("Unsqueeze", "mask.rows", [graph.add("Cast", "mask.float", ["mask"], to=FLOAT), axis])
    summed = graph.add("Squeeze", "summed", [graph.add("MatMul", "pooled", [rows, x]), axis])
    graph.add("LpNormalization", "vectors", [summed], axis=1, p=2)
    tokens = (np.int32, ["batch", "tokens"])
    model = graph.model({"ids": tokens, "mask": tokens}, {"vectors": (np.float32, ["batch", DIM])})
    return model, graph.weights


def _embeddings(graph: Graph, weights: Weights) -> str:
    w = {key: weights[f"embeddings.{key}.weight"] for key in ("word_embeddings", "LayerNorm")}
    # All tokens are of type 0 here, so the type's vector is folded into the positions.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
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
    return graph.add("EmbedLayerNormalization", "embeddings", inputs, "lengths", domain=CONTRIB, epsilon=_EPSILON)


def _layer(graph: Graph, weights: Weights, at: str, x: str, matmul: MatMul) -> str:
    parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
    weight = np.concatenate([weights[f"{part}.weight"] for part in parts]).T
    bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
    inputs = [x, graph.weight(f"{at}.qkv.weight", weight), graph.weight(f"{at}.qkv.bias", bias), "lengths"]
    attended = graph.add("Attention", f"{at}.attended", inputs, domain=CONTRIB, num_heads=HEADS)
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
