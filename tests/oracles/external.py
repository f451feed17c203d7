"""Writes a small network whose weights lie in a file beside it: tests/golden/external/net.onnx and net.bin. And one
with a second input, a mask that the picture is multiplied with: masked.onnx.

    python external.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from formula import INPUT, noise
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parent.parent / "golden" / "external"


def main() -> None:
    shapes = {"w": (4, 3, 5, 5), "b": (4,), "v": (4, 6), "c": (6,)}
    values, start = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        values[name] = noise(count, INPUT, start).reshape(shape)
        start += count
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["early"], kernel_shape=[5, 5], strides=[3, 3]),
        helper.make_node("Relu", ["early"], ["late"]),
        helper.make_node("ReduceMean", ["late"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["mean", "v", "c"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "external",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 56, 56])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "net.bin").unlink(missing_ok=True)
    onnx.save_model(model, FOLDER / "net.onnx", save_as_external_data=True, location="net.bin", size_threshold=0)
    masked()


def masked() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["input", "mask"], ["seen"]),
            helper.make_node("ReduceMean", ["seen"], ["logits"], axes=[2, 3], keepdims=0),
        ],
        "masked",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 56, 56]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [56, 56]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, FOLDER / "masked.onnx")


if __name__ == "__main__":
    main()
