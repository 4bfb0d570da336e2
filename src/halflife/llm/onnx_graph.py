"""Writes an ONNX model as bytes, with its weights left outside.

An ONNX file is a protobuf message, and protobuf is little more than (field number, wire type, value). Writing
the few messages that a graph needs takes less than the `onnx` package does to import, and keeps the graph as
code that can be read instead of a binary file. Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Attribute: TypeAlias = int | float | Sequence[int]

CONTRIB = "com.microsoft"  # onnxruntime's own fused operators
FLOAT, UINT8, INT32 = 1, 2, 6  # TensorProto.DataType
_DTYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.uint8): UINT8, np.dtype(np.int32): INT32}
_IR_VERSION, _OPSET = 9, 17
_AS_FLOAT, _AS_INT, _AS_INTS = 1, 2, 7  # AttributeProto.AttributeType
_EXTERNAL = 1  # TensorProto.DataLocation


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _bytes(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, int):
        body = _int(3, value) + _int(20, _AS_INT)
    elif isinstance(value, float):
        body = _float(2, value) + _int(20, _AS_FLOAT)
    else:
        body = b"".join(_int(8, item) for item in value) + _int(20, _AS_INTS)
    return _bytes(1, name) + body


def _value_info(name: str, dtype: Any, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_bytes(1, _bytes(2, d) if isinstance(d, str) else _int(1, d)) for d in shape)
    tensor = _int(1, _DTYPES[np.dtype(dtype)]) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _external(name: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(_int(1, d) for d in array.shape)
    location = _bytes(13, _bytes(1, "location") + _bytes(2, "weights"))
    return dims + _int(2, _DTYPES[array.dtype]) + _bytes(8, name) + location + _int(14, _EXTERNAL)


@dataclass
class Graph:
    """A graph under construction: nodes in order, and the weights that they name.

    >>> graph = Graph()
    >>> graph.add("Add", "sum", ["x", graph.weight("one", np.ones(3, np.float32))])
    'sum'
    >>> model = graph.model({"x": (np.float32, ["n", 3])}, {"sum": (np.float32, ["n", 3])})
    >>> type(model), sorted(graph.weights)
    (<class 'bytes'>, ['one'])
    """

    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    _nodes: list[bytes] = field(default_factory=list)

    def weight(self, name: str, array: NDArray[Any]) -> str:
        """Name a constant, whose values are handed to the session beside the graph."""
        self.weights[name] = np.ascontiguousarray(array)
        return name

    def add(
        self,
        op: str,
        output: str,
        inputs: Sequence[str],
        *more: str,
        domain: str = "",
        **attributes: Attribute,
    ) -> str:
        """Append a node; returns the name of its (first) output. An input "" is an optional one left out."""
        node = b"".join(_bytes(1, name) for name in inputs)
        node += b"".join(_bytes(2, name) for name in (output, *more)) + _bytes(4, op)
        node += b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
        self._nodes.append(node + _bytes(7, domain))
        return output

    def model(
        self,
        inputs: Mapping[str, tuple[Any, Sequence[int | str]]],
        outputs: Mapping[str, tuple[Any, Sequence[int | str]]],
    ) -> bytes:
        """The serialised ModelProto. `inputs` and `outputs`: (dtype, shape) by name; a named size is free."""
        graph = b"".join(_bytes(1, node) for node in self._nodes) + _bytes(2, "halflife")
        graph += b"".join(_bytes(5, _external(*item)) for item in self.weights.items())
        graph += b"".join(_bytes(11, _value_info(name, *kind)) for name, kind in inputs.items())
        graph += b"".join(_bytes(12, _value_info(name, *kind)) for name, kind in outputs.items())
        opsets = _bytes(8, _int(2, _OPSET)) + _bytes(8, _bytes(1, CONTRIB) + _int(2, 1))
        return _int(1, _IR_VERSION) + _bytes(7, graph) + opsets
