"""Makes `tests/golden/ops`: one tiny ONNX graph for each operator, and each way of using it, with PyTorch's answer.

    python ops.py                  # writes everything again

`tests/tests/conformance.rs` runs every graph on every backend. A graph takes `x`, gives `y`; the golden is y and
d(sum(cotangent * y)) / dx by autograd in f64, rounded to f32. Every forward pass is compared with onnxruntime here:
where that refuses the graph the problem says so. Input and cotangent are the formula of `formula.py`; an input is
`scale * noise + shift`. Values lie one after another in `values.npy`; `problems.json` says where.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from formula import COTANGENT, INPUT, noise
from onnx_torch import OnnxNet

OUT = Path(__file__).resolve().parent.parent / "golden" / "ops"
# Forward passes of onnxruntime (f32) and of the oracle (f64) may lie this far apart, relative L2.
FORWARD = 2e-6

problems: dict[str, dict] = {}
values: list[np.ndarray] = []


class Graph:
    """Collects nodes and constants; strings are tensors, arrays become initializers."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def constant(self, value) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def __call__(self, op: str, *inputs, outputs: int = 1, **attributes):
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        gives = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, names, gives, name=f"n{len(self.nodes)}", **attributes))
        return gives[0] if outputs == 1 else gives


def weights(*shape: int, start: int = 0, scale: float = 0.5) -> np.ndarray:
    return (noise(int(np.prod(shape)), COTANGENT, 9_000 + start) * np.float32(scale)).reshape(shape)


def problem(name: str, shape: list[int], build, opset: int = 17, scale: float = 1.0, shift: float = 0.0) -> None:
    graph = Graph()
    y = build(graph, "x")
    graph.nodes.append(helper.make_node("Identity", [y], ["y"], name="last"))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph(graph.nodes, name.replace("/", "_"), [given], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], graph.weights),
        opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 19 else 9,
    )  # fmt: skip
    # An exact shape for the output, which runtimes read from the file.
    model = onnx.shape_inference.infer_shapes(model)
    path = OUT / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))

    x = (noise(int(np.prod(shape)), INPUT) * np.float32(scale) + np.float32(shift)).reshape(shape)
    net = OnnxNet(path).double()
    leaf = torch.from_numpy(x).double().requires_grad_()
    output = net(leaf)["y"]
    cotangent = torch.from_numpy(noise(output.numel(), COTANGENT).reshape(tuple(output.shape))).double()
    (pulled,) = torch.autograd.grad((cotangent * output).sum(), leaf)
    runtime = None
    try:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        theirs = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["y"], {"x": x})[0]
        runtime = float(np.linalg.norm(theirs - output.detach().numpy()) / max(float(output.detach().norm()), 1e-30))
        if runtime > FORWARD:
            sys.exit(f"error: {name}: onnxruntime's forward pass is {runtime:.1e} from the oracle's")
    except Exception as refusal:
        if isinstance(refusal, SystemExit):
            raise
        print(f"{name}: onnxruntime refuses: {str(refusal).splitlines()[0][:110]}")
    at = sum(v.size for v in values)
    values.extend([output.detach().numpy().astype(np.float32).reshape(-1), pulled.numpy().astype(np.float32).reshape(-1)])
    problems[name] = {
        "input_shape": shape, "scale": scale, "shift": shift, "output_shape": list(output.shape), "at": at, "onnxruntime": runtime,
    }  # fmt: skip


PICTURE = [1, 4, 7, 6]


def convolutions() -> None:
    def conv(name, inputs=4, outputs=6, kernel=(3, 3), group=1, size=(7, 6), bias=True, **attributes):
        def build(g, x):
            rest = [weights(outputs, start=77)] if bias else []
            return g("Conv", x, weights(outputs, inputs // group, *kernel), *rest, group=group, **attributes)

        problem(f"conv/{name}", [1, inputs, *size], build)

    conv("plain")
    conv("no_bias", bias=False, pads=[1, 1, 1, 1])
    conv("asymmetric_pads", pads=[1, 0, 2, 1])
    conv("wide_pads", pads=[3, 3, 3, 3])
    conv("one_by_one", kernel=(1, 1))
    conv("one_by_one_stride2", kernel=(1, 1), strides=[2, 2])
    conv("one_by_three", kernel=(1, 3), pads=[0, 1, 0, 1])
    conv("stride2", strides=[2, 2], pads=[1, 1, 1, 1])
    conv("stride2_odd", strides=[2, 2], pads=[0, 0, 1, 1], size=(8, 9))
    conv("stride3", strides=[3, 3], pads=[2, 1, 0, 2])
    conv("stride_beyond_kernel", strides=[3, 3], kernel=(2, 2))
    conv("stride_differs", strides=[2, 1], pads=[1, 1, 1, 1])
    conv("dilated", dilations=[2, 2], pads=[2, 1, 2, 0])
    conv("dilated_stride2", dilations=[2, 2], strides=[2, 2], pads=[2, 2, 2, 2])
    conv("groups2", group=2, pads=[1, 1, 1, 1])
    conv("groups2_stride2", group=2, pads=[1, 1, 1, 1], strides=[2, 2])
    conv("depthwise", group=4, outputs=4, pads=[1, 1, 1, 1])
    conv("depthwise_stride2", group=4, outputs=4, pads=[2, 2, 2, 2], kernel=(5, 5), strides=[2, 2])
    conv("depthwise_multiplier", group=4, outputs=8, pads=[1, 1, 1, 1])
    conv("stem7x7", inputs=3, outputs=8, kernel=(7, 7), strides=[2, 2], pads=[3, 3, 3, 3], size=(12, 11))
    conv("patchify", inputs=3, outputs=8, kernel=(4, 4), strides=[4, 4], size=(12, 8))
    conv("same_upper", auto_pad="SAME_UPPER", strides=[2, 2])
    conv("same_lower", auto_pad="SAME_LOWER", strides=[2, 2])
    problem("conv/one_dimension", [1, 4, 9], lambda g, x: g("Conv", x, weights(6, 4, 3), pads=[1, 1], strides=[2]))
    for opset in (9, 11, 13, 18, 21):
        def block(g, x):
            y = g("Conv", x, weights(6, 4, 3, 3), pads=[1, 1, 1, 1])
            return g("Relu", g("BatchNormalization", y, weights(6, start=1) + 1, weights(6, start=2), weights(6, start=3), np.abs(weights(6, start=4)) + 0.3))

        problem(f"conv/batch_norm_relu_opset{opset}", PICTURE, block, opset=opset)


def transposed_convolutions() -> None:
    def up(name, inputs=4, outputs=6, kernel=(3, 3), group=1, size=(4, 5), bias=True, **attributes):
        def build(g, x):
            rest = [weights(outputs, start=77)] if bias else []
            return g("ConvTranspose", x, weights(inputs, outputs // group, *kernel), *rest, group=group, **attributes)

        problem(f"conv_transpose/{name}", [1, inputs, *size], build)

    up("plain")
    up("double", kernel=(2, 2), strides=[2, 2])
    up("stride2_pads", strides=[2, 2], pads=[1, 1, 1, 1])
    up("output_padding", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    up("four_by_four", kernel=(4, 4), strides=[2, 2], pads=[1, 1, 1, 1], bias=False)
    up("asymmetric_pads", strides=[2, 3], pads=[1, 0, 0, 2])
    up("dilated", dilations=[2, 2], pads=[1, 1, 1, 1])
    up("groups2", group=2, strides=[2, 2])
    up("depthwise", group=4, outputs=4, strides=[2, 2], pads=[1, 1, 1, 1])


def pools() -> None:
    for op in ("MaxPool", "AveragePool"):
        for name, options in {
            "plain": dict(kernel_shape=[2, 2], strides=[2, 2]),
            "overlap": dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            "ceil": dict(kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
            "asymmetric": dict(kernel_shape=[3, 2], strides=[1, 1], pads=[1, 0, 0, 1]),
            "same_size": dict(kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        }.items():
            problem(f"pool/{op}_{name}", PICTURE, lambda g, x, op=op, options=options: g(op, x, **options))
    problem("pool/AveragePool_counts_padding", PICTURE, lambda g, x: g("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))
    problem("pool/GlobalAveragePool", PICTURE, lambda g, x: g("GlobalAveragePool", x))
    problem("pool/GlobalMaxPool", PICTURE, lambda g, x: g("GlobalMaxPool", x))


def activations() -> None:
    shape = [2, 3, 5]
    for op in ("Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Softplus", "Softsign", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Neg", "Abs", "Sin", "Cos", "Atan", "ThresholdedRelu"):
        problem(f"activation/{op}", shape, lambda g, x, op=op: g(op, x), scale=3.0)

    def far(g, x):
        # e^x overflows in f32 beyond 88: neither value nor gradient may.
        return g("Concat", g("Add", x, np.float32(100)), g("Sub", x, np.float32(100)), x, axis=2)

    for op in ("Softplus", "Elu", "Selu", "Celu", "Sigmoid", "Tanh", "HardSwish"):
        problem(f"activation/{op}_far", shape, lambda g, x, op=op: g(op, far(g, x)), scale=3.0)
    problem("activation/Mish", shape, lambda g, x: g("Mish", x), opset=18, scale=3.0)
    problem("activation/Mish_far", shape, lambda g, x: g("Mish", far(g, x)), opset=18, scale=3.0)
    problem("activation/Mish_expanded", shape, lambda g, x: g("Mul", x, g("Tanh", g("Softplus", x))), scale=3.0)
    problem("activation/LeakyRelu", shape, lambda g, x: g("LeakyRelu", x, alpha=0.2))
    problem("activation/Elu_alpha", shape, lambda g, x: g("Elu", x, alpha=0.5), scale=3.0)
    problem("activation/HardSigmoid_sixth", shape, lambda g, x: g("HardSigmoid", x, alpha=1 / 6, beta=0.5), scale=4.0)
    problem("activation/PRelu", PICTURE, lambda g, x: g("PRelu", x, np.array([0.25, 0.1, 0.4, 0.3]).reshape(4, 1, 1)))
    problem("activation/PRelu_negative", PICTURE, lambda g, x: g("PRelu", x, np.array([0.25, -0.1, 0.4, 1.3]).reshape(4, 1, 1)))
    problem("activation/PRelu_one", PICTURE, lambda g, x: g("PRelu", x, np.array([0.25])))
    problem("activation/Clip_relu6", shape, lambda g, x: g("Clip", x, np.float32(0), np.float32(1.5)), scale=3.0)
    problem("activation/Clip_opset6", shape, lambda g, x: g("Clip", x, min=-0.5, max=1.5), opset=10, scale=3.0)
    problem("activation/Clip_low_only", shape, lambda g, x: g("Clip", x, np.float32(-0.4)))
    problem("activation/hard_swish_opset11", shape, lambda g, x: g("Div", g("Mul", x, g("Clip", g("Add", x, np.float32(3)), np.float32(0), np.float32(6))), np.float32(6)), opset=11, scale=4.0)
    problem("activation/silu_expanded", shape, lambda g, x: g("Mul", x, g("Sigmoid", x)), scale=3.0)
    problem("activation/silu_far", [2, 3, 15], lambda g, x: g("Mul", x, g("Sigmoid", x)), scale=100.0)
    problem("activation/gelu_erf_expanded", shape, lambda g, x: g("Mul", g("Mul", x, g("Add", g("Erf", g("Div", x, np.float32(2**0.5))), np.float32(1))), np.float32(0.5)), scale=3.0)

    def gelu_tanh(g, x):
        cube = g("Mul", g("Mul", x, x), x)
        inner = g("Mul", g("Add", x, g("Mul", cube, np.float32(0.044715))), np.float32((2 / np.pi) ** 0.5))
        return g("Mul", g("Mul", x, np.float32(0.5)), g("Add", g("Tanh", inner), np.float32(1)))

    problem("activation/gelu_tanh_expanded", shape, gelu_tanh, scale=3.0)
    problem("activation/Gelu", shape, lambda g, x: g("Gelu", x), opset=20, scale=3.0)
    problem("activation/Gelu_tanh", shape, lambda g, x: g("Gelu", x, approximate="tanh"), opset=20, scale=3.0)
    positive = dict(scale=0.45, shift=1.0)
    for op in ("Sqrt", "Reciprocal", "Log"):
        problem(f"activation/{op}", shape, lambda g, x, op=op: g(op, x), **positive)
    for exponent in (2.0, 3.0, 0.5, -1.0, 1.7):
        problem(f"activation/Pow_{exponent}", shape, lambda g, x, e=exponent: g("Pow", x, np.float32(e)), **positive)
    problem("activation/Pow_2_of_negative", shape, lambda g, x: g("Pow", x, np.float32(2)))


def arithmetic() -> None:
    for op in ("Add", "Sub", "Mul", "Div", "Max", "Min"):
        positive = dict(scale=0.45, shift=1.0)
        for name, shape in {"same": [2, 3, 4], "row": [3, 4], "column": [2, 3, 1], "scalar": [1]}.items():
            other = np.abs(weights(*shape, scale=0.8)) + 0.6
            problem(f"arithmetic/{op}_{name}_right", [1, 2, 3, 4], lambda g, x, op=op, o=other: g(op, x, o), **positive)
            problem(f"arithmetic/{op}_{name}_left", [1, 2, 3, 4], lambda g, x, op=op, o=other: g(op, o, x), **positive)
        # Both sides depend on the input.
        problem(f"arithmetic/{op}_of_two", [1, 2, 3, 4], lambda g, x, op=op: g(op, g("Sin", x), g("Cos", g("ReduceMean", x, axes=[2]))), **positive)
    for name, shape in {"same": [2, 3, 4], "row": [4]}.items():
        base = np.abs(weights(*shape)) + 0.5
        problem(f"arithmetic/Pow_{name}_exponent", [1, 2, 3, 4], lambda g, x, b=base: g("Pow", b, x))
        problem(f"arithmetic/Pow_{name}_base", [1, 2, 3, 4], lambda g, x, b=base: g("Pow", x, b), scale=0.45, shift=1.0)
    problem("arithmetic/Pow_of_two", [1, 2, 3, 4], lambda g, x: g("Pow", x, g("Sin", x)), scale=0.45, shift=1.0)
    problem("arithmetic/Max_of_three", [1, 2, 3, 4], lambda g, x: g("Max", x, g("Neg", x), weights(4)))
    problem("arithmetic/Sum_of_three", [1, 2, 3, 4], lambda g, x: g("Sum", x, g("Neg", x), weights(4)))
    problem("arithmetic/Mean_of_three", [1, 2, 3, 4], lambda g, x: g("Mean", x, g("Sin", x), weights(4)))
    problem("arithmetic/Where", [1, 2, 3, 4], lambda g, x: g("Where", g("Greater", x, np.float32(0.1)), g("Mul", x, x), g("Neg", x)))
    problem("arithmetic/used_twice", [2, 3], lambda g, x: g("Mul", g("Sin", x), x))


def products() -> None:
    problem("product/Gemm", [2, 6], lambda g, x: g("Gemm", x, weights(6, 5), weights(5, start=40)))
    problem("product/Gemm_transB", [2, 6], lambda g, x: g("Gemm", x, weights(5, 6), weights(5, start=40), transB=1, alpha=0.5, beta=2.0))
    problem("product/MatMul", [1, 4, 6], lambda g, x: g("MatMul", x, weights(6, 5)))
    problem("product/MatMul_left", [1, 4, 6], lambda g, x: g("MatMul", weights(5, 4), x))
    problem("product/MatMul_batched", [1, 3, 4, 6], lambda g, x: g("MatMul", x, weights(3, 6, 5)))
    problem("product/MatMul_of_two", [1, 3, 4, 6], lambda g, x: g("MatMul", x, g("Transpose", x, perm=[0, 1, 3, 2])))
    problem("product/Einsum", [1, 3, 4, 6], lambda g, x: g("Einsum", x, weights(3, 6, 5), equation="bhnd,hdk->bhnk"))

    def attention(g, x):
        q, k, v = (g("Transpose", g("Reshape", g("MatMul", x, weights(8, 8, start=100 * i)), np.array([0, 5, 2, 4])), perm=[0, 2, 1, 3]) for i in range(3))
        scores = g("Softmax", g("Mul", g("MatMul", q, g("Transpose", k, perm=[0, 1, 3, 2])), np.float32(0.5)), axis=-1)
        return g("Reshape", g("Transpose", g("MatMul", scores, v), perm=[0, 2, 1, 3]), np.array([0, 5, 8]))

    problem("product/attention", [1, 5, 8], attention)


def normalisations() -> None:
    for axis in (-1, 1, 2):
        problem(f"norm/Softmax_axis{axis}", [1, 3, 4, 5], lambda g, x, axis=axis: g("Softmax", x, axis=axis))
    problem("norm/Softmax_opset11", [2, 3, 4], lambda g, x: g("Softmax", x, axis=1), opset=11)
    problem("norm/LogSoftmax", [2, 5], lambda g, x: g("LogSoftmax", x, axis=-1))
    problem("norm/LayerNormalization", [1, 4, 6], lambda g, x: g("LayerNormalization", x, weights(6) + 1, weights(6, start=9), axis=-1, epsilon=1e-6))
    problem("norm/LayerNormalization_two_axes", [1, 4, 6], lambda g, x: g("LayerNormalization", x, weights(4, 6) + 1, weights(4, 6, start=9), axis=1))

    def expanded(g, x):
        centred = g("Sub", x, g("ReduceMean", x, axes=[-1]))
        deviation = g("Sqrt", g("Add", g("ReduceMean", g("Pow", centred, np.float32(2)), axes=[-1]), np.float32(1e-5)))
        return g("Add", g("Mul", g("Div", centred, deviation), weights(6) + 1), weights(6, start=9))

    problem("norm/layer_norm_expanded", [1, 4, 6], expanded)
    problem("norm/BatchNormalization", PICTURE, lambda g, x: g("BatchNormalization", x, weights(4) + 1, weights(4, start=5), weights(4, start=10), np.abs(weights(4, start=15)) + 0.4))
    problem("norm/InstanceNormalization", PICTURE, lambda g, x: g("InstanceNormalization", x, weights(4) + 1, weights(4, start=5)))
    problem("norm/GroupNormalization", PICTURE, lambda g, x: g("GroupNormalization", x, weights(4) + 1, weights(4, start=5), num_groups=2), opset=21)
    problem("norm/LRN", [1, 7, 3, 3], lambda g, x: g("LRN", x, size=5, alpha=0.8, beta=0.75, bias=1.5))
    problem("norm/LRN_even", [1, 7, 3, 3], lambda g, x: g("LRN", x, size=4, alpha=0.5, beta=0.6, bias=1.0))
    problem("norm/embedding_l2", [2, 6], lambda g, x: g("Div", x, g("ReduceL2", x, axes=[1], keepdims=1)))


def reductions() -> None:
    for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"):
        for name, axes in {"last": [-1], "two": [1, 3]}.items():
            if op == "ReduceSum":
                problem(f"reduce/{op}_{name}", [1, 3, 4, 5], lambda g, x, axes=axes: g("ReduceSum", x, np.array(axes), keepdims=1))
            else:
                problem(f"reduce/{op}_{name}", [1, 3, 4, 5], lambda g, x, op=op, axes=axes: g(op, x, axes=axes, keepdims=0))
    problem("reduce/ReduceMean_opset18", [1, 3, 4, 5], lambda g, x: g("ReduceMean", x, np.array([2, 3]), keepdims=1), opset=18)
    problem("reduce/ReduceMax_opset18", [1, 3, 4, 5], lambda g, x: g("ReduceMax", x, np.array([2, 3]), keepdims=0), opset=18)
    problem("reduce/ReduceLogSum", [1, 3, 4], lambda g, x: g("ReduceLogSum", x, axes=[-1]), scale=0.45, shift=1.0)


def movements() -> None:
    shape = [1, 3, 4, 5]
    problem("move/Transpose", shape, lambda g, x: g("Transpose", x, perm=[0, 2, 3, 1]))
    problem("move/Reshape", shape, lambda g, x: g("Reshape", x, np.array([0, 12, -1])))
    problem("move/Flatten", shape, lambda g, x: g("Flatten", x, axis=1))
    problem("move/Unsqueeze_Squeeze", [1, 4, 5], lambda g, x: g("Squeeze", g("Unsqueeze", x, np.array([1, 2])), np.array([1])))
    problem("move/Concat", shape, lambda g, x: g("Concat", x, weights(1, 2, 4, 5), g("Neg", x), axis=1))
    problem("move/class_token", [1, 4, 6], lambda g, x: g("Gather", g("Concat", weights(1, 1, 6), x, axis=1), np.int64(0), axis=1))

    def split(g, x):
        a, b = g("Split", x, np.array([1, 2]), outputs=2, axis=1)
        return g("Add", g("Mul", a, b), b)

    problem("move/Split", shape, split)
    problem("move/Slice", shape, lambda g, x: g("Slice", x, np.array([1, -4]), np.array([3, -1]), np.array([1, 3])))
    problem("move/Slice_steps", shape, lambda g, x: g("Slice", x, np.array([1, 0]), np.array([4, 5]), np.array([2, 3]), np.array([2, 3])))
    problem("move/Slice_behind_Conv", PICTURE, lambda g, x: g("Slice", g("Conv", x, weights(5, 4, 3, 3), pads=[1, 1, 1, 1]), np.array([1, 1]), np.array([9, 9]), np.array([2, 3]), np.array([2, 2])))
    problem("move/Slice_in_front_of_Conv", PICTURE, lambda g, x: g("Conv", g("Slice", g("Conv", x, weights(5, 4, 3, 3)), np.array([1]), np.array([9]), np.array([3])), weights(3, 5, 1, 1), strides=[2, 2]))
    problem("move/Slice_behind_Reshape", [1, 16, 3], lambda g, x: g("Slice", g("Reshape", x, np.array([1, 4, 4, 3])), np.array([0, 0]), np.array([9, 9]), np.array([1, 2]), np.array([2, 2])))
    problem("move/Slice_backwards", shape, lambda g, x: g("Slice", x, np.array([-1]), np.array([-(2**62)]), np.array([3]), np.array([-1])))
    problem("move/Slice_backwards_by_two", shape, lambda g, x: g("Slice", x, np.array([-1]), np.array([-(2**62)]), np.array([2]), np.array([-2])))
    problem("move/Gather", shape, lambda g, x: g("Gather", x, np.array([2, 0, 2]), axis=2))
    problem("move/Gather_negative", shape, lambda g, x: g("Gather", x, np.array([-1]), axis=3))
    problem("move/Gather_table", shape, lambda g, x: g("Gather", x, np.array([[1, 2], [0, 1]]), axis=1))
    problem("move/roll", shape, lambda g, x: g("Concat", g("Slice", x, np.array([2]), np.array([5]), np.array([3])), g("Slice", x, np.array([0]), np.array([2]), np.array([3])), axis=3))
    problem("move/Expand", [1, 3, 1, 5], lambda g, x: g("Expand", x, np.array([1, 3, 4, 5])))
    problem("move/Tile", shape, lambda g, x: g("Tile", x, np.array([1, 1, 2, 3])))
    problem("move/DepthToSpace", [1, 8, 3, 2], lambda g, x: g("DepthToSpace", x, blocksize=2))
    problem("move/pixel_shuffle", [1, 8, 3, 2], lambda g, x: g("DepthToSpace", x, blocksize=2, mode="CRD"))
    problem("move/SpaceToDepth", [1, 2, 4, 6], lambda g, x: g("SpaceToDepth", x, blocksize=2))
    problem("move/Dropout", shape, lambda g, x: g("Dropout", g("Identity", x)))
    pads = np.array([0, 0, 2, 1, 0, 0, 1, 3])
    for mode in ("constant", "reflect", "edge"):
        problem(f"move/Pad_{mode}", shape, lambda g, x, mode=mode: g("Pad", x, pads, mode=mode))
    problem("move/Pad_value", shape, lambda g, x: g("Pad", x, pads, np.float32(0.7)))
    problem("move/Pad_opset10", shape, lambda g, x: g("Pad", x, mode="reflect", pads=pads.tolist()), opset=10)


def resizes() -> None:
    empty = np.array([], np.float32)
    scales = lambda *s: np.array([1, 1, *s], np.float32)  # noqa: E731
    shape = [1, 2, 4, 5]
    for mode in ("nearest", "linear", "cubic"):
        for frame in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
            if mode == "nearest" and frame != "asymmetric":
                continue
            options = dict(mode=mode, coordinate_transformation_mode=frame)
            if mode == "nearest":
                options["nearest_mode"] = "floor"
            problem(f"resize/{mode}_{frame}", shape, lambda g, x, o=options: g("Resize", x, "", scales(2, 2), **o))
    half = dict(mode="linear", coordinate_transformation_mode="half_pixel")
    problem("resize/linear_uneven", shape, lambda g, x: g("Resize", x, "", scales(1.5, 2.4), **half))
    problem("resize/linear_smaller", shape, lambda g, x: g("Resize", x, "", scales(0.5, 0.6), **half))
    problem("resize/linear_sizes", shape, lambda g, x: g("Resize", x, "", "", np.array([1, 2, 7, 9]), **half))
    problem("resize/linear_sizes_opset11", shape, lambda g, x: g("Resize", x, empty, empty, np.array([1, 2, 7, 9]), **half), opset=11)
    problem("resize/linear_opset18_axes", shape, lambda g, x: g("Resize", x, "", np.array([2, 3], np.float32), axes=[2, 3], **half), opset=18)
    for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        options = dict(mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode=rounding)
        problem(f"resize/nearest_{rounding}", shape, lambda g, x, o=options: g("Resize", x, "", scales(1.5, 2), **o))
    problem("resize/nearest_sizes", shape, lambda g, x: g("Resize", x, "", "", np.array([1, 2, 8, 10]), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
    problem("resize/nearest_smaller", shape, lambda g, x: g("Resize", x, "", scales(0.5, 0.4), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"))
    problem("resize/opset10", shape, lambda g, x: g("Resize", x, scales(2, 3), mode="nearest"), opset=10)
    problem("resize/Upsample_opset9", shape, lambda g, x: g("Upsample", x, scales(2, 3), mode="nearest"), opset=9)


def quantised() -> None:
    zero, scales = np.array(3, np.int8), np.array([0.02, 0.03, 0.05, 0.01], np.float32)

    def around(g, x, *parameters, **attributes):
        return g("DequantizeLinear", g("QuantizeLinear", x, *parameters, **attributes), *parameters, **attributes)

    problem("quantised/QuantizeLinear", PICTURE, lambda g, x: around(g, x, np.float32(0.011), zero))
    problem("quantised/QuantizeLinear_unsigned", PICTURE, lambda g, x: around(g, x, np.float32(0.006), np.array(90, np.uint8)))
    problem("quantised/QuantizeLinear_axis", PICTURE, lambda g, x: around(g, x, scales, np.array([0, 1, -2, 3], np.int8), axis=1))

    def conv(g, x):
        kernel = (weights(6, 4, 3, 3) * 100).astype(np.int8)
        kernel = g("DequantizeLinear", kernel, np.full(6, 0.02, np.float32), np.zeros(6, np.int8), axis=0)
        return around(g, g("Relu", g("Conv", around(g, x, np.float32(0.011), zero), kernel)), np.float32(0.05), zero)

    problem("quantised/convolution", PICTURE, conv)


def curves() -> None:
    for op in ("Tan", "Sinh", "Cosh", "Asinh"):
        problem(f"curve/{op}", [2, 9], lambda g, x, op=op: g(op, x))
    for op in ("Acos", "Asin", "Atanh"):
        problem(f"curve/{op}", [2, 9], lambda g, x, op=op: g(op, x), scale=0.8)
    problem("curve/Acosh", [2, 9], lambda g, x: g("Acosh", x), scale=0.5, shift=2.0)


def over_three_axes() -> None:
    shape, window = [1, 2, 4, 5, 6], dict(kernel_shape=[2, 3, 2], strides=[1, 2, 2], pads=[1, 0, 1, 0, 1, 0])
    for op in ("MaxPool", "AveragePool"):
        problem(f"space/{op}", shape, lambda g, x, op=op: g(op, x, **window))
    problem("space/Conv", shape, lambda g, x: g("Conv", x, weights(4, 2, 2, 3, 2), weights(4, start=70), **window))
    problem("space/Conv_stride1", shape, lambda g, x: g("Conv", x, weights(4, 1, 3, 2, 1), group=2, pads=[1, 0, 0, 1, 1, 0]))


def recurrent_layers() -> None:
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for direction in ("forward", "bidirectional"):
            directions, rows = 1 + (direction == "bidirectional"), gates * 3

            def layer(g, x, op=op, directions=directions, rows=rows, direction=direction):
                w, r = weights(directions, rows, 5), weights(directions, rows, 3, start=300)
                b = weights(directions, 2 * rows, start=700)
                y = g(op, g("Transpose", x, perm=[1, 0, 2]), w, r, b, hidden_size=3, direction=direction)
                return g("Transpose", y, perm=[2, 0, 1, 3])

            problem(f"recurrent/{op}_{direction}", [1, 4, 5], layer)

    def after_reset(g, x):
        w, r, b = weights(1, 9, 5), weights(1, 9, 3, start=300), weights(1, 18, start=700)
        states = g("GRU", g("Transpose", x, perm=[1, 0, 2]), w, r, b, hidden_size=3, linear_before_reset=1, outputs=2)
        return g("Transpose", states[1], perm=[1, 0, 2])

    problem("recurrent/GRU_after_reset", [1, 4, 5], after_reset)


def rare() -> None:
    shape, table = [1, 3, 4], np.array([[[1, 0, 3, 2], [2, 2, 0, 1], [0, 1, 1, 3]]])
    for kind in ("CumSum", "CumProd"):
        opset = 26 if kind == "CumProd" else 17
        for extra in ({}, {"exclusive": 1}, {"reverse": 1}):
            name = "_".join([kind, *extra])
            problem(f"rare/{name}", shape, lambda g, x, k=kind, e=extra: g(k, x, np.array(2), **e), opset=opset)
    problem("rare/ReduceProd", shape, lambda g, x: g("ReduceProd", x, axes=[2], keepdims=0))
    problem("rare/Det", [1, 3, 3], lambda g, x: g("Det", x))
    problem("rare/Mod_of_two", shape, lambda g, x: g("Mod", x, weights(4, start=20) + 1.2, fmod=1))
    problem("rare/Trilu", [1, 4, 5], lambda g, x: g("Trilu", x, np.array(1), upper=1))
    problem("rare/TopK", shape, lambda g, x: g("TopK", x, np.array([2]), outputs=2, axis=2)[0])
    problem("rare/Compress", shape, lambda g, x: g("Compress", x, np.array([True, False, True]), axis=1))
    problem("rare/ReverseSequence", shape, lambda g, x: g("ReverseSequence", x, np.array([3]), batch_axis=0, time_axis=1))
    problem("rare/GatherElements", shape, lambda g, x: g("GatherElements", x, table, axis=2))
    problem("rare/GatherND", shape, lambda g, x: g("GatherND", x, np.array([[[2, 1], [0, 3]]]), batch_dims=1))
    for how in ("none", "add", "mul", "max"):
        place = table if how != "none" else np.argsort(table, axis=2)
        problem(
            f"rare/ScatterElements_{how}", shape,
            lambda g, x, p=place, how=how: g("ScatterElements", x, p, weights(1, 3, 4, start=40), axis=2, reduction=how), opset=18,
        )  # fmt: skip
    problem("rare/ScatterND", shape, lambda g, x: g("ScatterND", x, np.array([[0, 1], [0, 0]]), weights(2, 4, start=40)))
    picture, grid = [1, 2, 4, 5], weights(1, 3, 3, 2, start=60, scale=1.3)
    for mode in ("bilinear", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            options = dict(mode=mode, padding_mode=padding, align_corners=int(padding == "border"))
            problem(f"rare/GridSample_{mode}_{padding}", picture, lambda g, x, o=options: g("GridSample", x, grid, **o))
    problem("rare/GridSample_of_grid", [1, 3, 3, 2], lambda g, x: g("GridSample", weights(1, 2, 4, 5), x, padding_mode="border"))
    problem("rare/AffineGrid", [1, 2, 3], lambda g, x: g("AffineGrid", x, np.array([1, 2, 3, 4])), opset=20)
    problem("rare/Col2Im", [1, 12, 6], lambda g, x: g("Col2Im", x, np.array([3, 4]), np.array([2, 2])), opset=18)
    for extra in ({}, {"onesided": 1}, {"inverse": 1}):
        name = "_".join(["DFT", *extra])
        problem(f"rare/{name}", [1, 5, 3, 1 if "onesided" in extra else 2], lambda g, x, e=extra: g("DFT", x, axis=1, **e))
    problem("rare/MaxUnpool", [1, 1, 2, 2], lambda g, x: g("MaxUnpool", x, np.array([[[[1, 7], [8, 14]]]]), kernel_shape=[2, 2], strides=[2, 2]))
    rois = np.array([[0.2, 0.4, 2.9, 3.3], [1.1, 0.3, 3.6, 2.4]], np.float32)

    def regions(g, x):
        pooled = g("RoiAlign", x, rois, np.array([0, 0]), output_height=2, output_width=2, sampling_ratio=2)
        return g("Unsqueeze", pooled, np.array([0]))

    problem("rare/RoiAlign", picture, regions)
    problem("rare/DeformConv", picture, lambda g, x: g("DeformConv", x, weights(3, 2, 2, 2), weights(1, 8, 3, 4, start=90), weights(3), weights(1, 4, 3, 4, start=200)), opset=19)
    problem("rare/DeformConv_of_offsets", [1, 8, 3, 4], lambda g, x: g("DeformConv", weights(1, 2, 4, 5), weights(3, 2, 2, 2), x), opset=19)


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for family in (convolutions, transposed_convolutions, pools, activations, arithmetic, products, normalisations, reductions, movements, resizes, quantised, curves, over_three_axes, recurrent_layers, rare):
            family()
    np.save(OUT / "values.npy", np.concatenate(values))
    (OUT / "problems.json").write_text(json.dumps(problems, indent=1) + "\n")
    size = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"{len(problems)} problems, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
