"""Makes `tests/golden/front_end`: one tiny ONNX graph for each operator that fame writes out or decides before it runs.

    python front_end.py            # writes everything again

Graphs, goldens and their use are as in `ops.py`, but the witness is ONNX itself: the value is onnxruntime's or that of
ONNX's reference evaluator, in f64, and the gradient its central differences. Neither shares a line with fame, or with
PyTorch, which has other definitions of some of these operators.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from formula import COTANGENT, INPUT, noise
from node_tests import by_onnxruntime, by_reference, widened
from ops import Graph, weights

OUT = Path(__file__).resolve().parent.parent / "golden" / "front_end"
STEPS = (1e-4, 2e-4)  # of the differences: f64 leaves 1e-11 of rounding, and a third derivative 1e-8 of truncation
STEPS_F32 = (1.0, 2.0)  # where only f32 is to be had, of linear graphs alone: their differences are exact at any step
AGREE = 1e-6  # two steps must give the same gradient; where they do not, a kink lies between them

problems: dict[str, dict] = {}
values: list[np.ndarray] = []


def witness(model: onnx.ModelProto, x: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]:
    """The first that computes the graph, in f64 if that can be, and the steps for its differences."""
    wide = widened(model)
    told = []
    for make, of, kind, steps in (
        (by_onnxruntime, wide, np.float64, STEPS),
        (by_reference, wide, np.float64, STEPS),
        (by_onnxruntime, model, np.float32, STEPS_F32),
    ):
        try:
            run = make(of)
            run({"x": x.astype(kind)})
            return (lambda at: np.asarray(run({"x": at.astype(kind)})[0], np.float64)), steps
        except Exception as e:  # noqa: BLE001: the next is asked
            told.append(str(e).splitlines()[0][:200])
    sys.exit("error: no witness: " + " | ".join(told))


def made(name: str, shape: list[int], build, opset: int) -> onnx.ModelProto:
    graph = Graph()
    y = build(graph, "x")
    graph.nodes.append(helper.make_node("Identity", [y], ["y"], name="last"))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    return helper.make_model(
        helper.make_graph(graph.nodes, name.replace("/", "_"), [given], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], graph.weights),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)], ir_version=8 if opset < 19 else 10,
    )  # fmt: skip


def problem(name: str, shape: list[int], build, opset: int = 17, scale: float = 1.0, shift: float = 0.0, same_as=None) -> None:
    """A graph and its golden. `same_as` builds a graph of the same meaning, for a witness that lacks the operator."""
    model = made(name, shape, build, opset)
    path = OUT / f"{name}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))

    x = (noise(int(np.prod(shape)), INPUT) * np.float32(scale) + np.float32(shift)).reshape(shape).astype(np.float64)
    ask, steps = witness(made(name, shape, same_as, opset) if same_as else model, x)
    output = ask(x)
    cotangent = noise(output.size, COTANGENT).reshape(output.shape).astype(np.float64)
    slopes = []
    for step in steps:
        gradient = np.zeros(x.size)
        for i in range(x.size):
            moved = np.zeros(x.size)
            moved[i] = step
            moved = moved.reshape(x.shape)
            gradient[i] = ((ask(x + moved) - ask(x - moved)) * cotangent).sum() / (2 * step)
        slopes.append(gradient)
    apart = np.linalg.norm(slopes[0] - slopes[1]) / max(np.linalg.norm(slopes[0]), 1e-30)
    if apart > AGREE:
        sys.exit(f"error: {name}: differences at two steps are {apart:.1e} apart")
    at = sum(v.size for v in values)
    values.extend([output.astype(np.float32).reshape(-1), slopes[0].astype(np.float32)])
    print(f"{name}: steps {steps}, {apart:.1e} apart", flush=True)
    problems[name] = {"input_shape": shape, "scale": scale, "shift": shift, "output_shape": list(output.shape), "at": at}


def parts(g, x, *shapes):
    """The input, which is one row of numbers, cut into tensors of these shapes."""
    sizes = [int(np.prod(s)) for s in shapes]
    ends = np.cumsum([0, *sizes])
    cut = [g("Slice", x, np.array([int(a)]), np.array([int(b)]), np.array([1])) for a, b in zip(ends, ends[1:])]
    return [g("Reshape", piece, np.array(shape)) for piece, shape in zip(cut, shapes)]


def attention() -> None:
    def case(name, q, k, v, rest=(), outputs=1, take=0, opset=23, **attributes):
        size = sum(int(np.prod(s)) for s in (q, k, v))

        def build(g, x):
            found = g("Attention", *parts(g, x, q, k, v), *rest, outputs=outputs, **attributes)
            return found if outputs == 1 else found[take]

        problem(f"attention/{name}", [1, size], build, opset=opset)

    heads = ([1, 2, 3, 4], [1, 2, 5, 4], [1, 2, 5, 3])
    case("plain", *heads)
    case("scale", *heads, scale=0.3)
    case("causal", *heads, is_causal=1)
    case("softcap", *heads, softcap=2.0)
    case("three_axes", [1, 3, 8], [1, 5, 8], [1, 5, 6], q_num_heads=2, kv_num_heads=2)
    case("grouped_heads", [1, 4, 3, 4], [1, 2, 5, 4], [1, 2, 5, 3])
    case("mask_of_numbers", *heads, rest=[weights(3, 5)])
    case("mask_of_truths", *heads, rest=[weights(3, 5) > -0.2])
    nothing = np.ones((3, 5), bool)
    nothing[1] = False
    case("mask_of_nothing", *heads, rest=[nothing])
    past = [weights(1, 2, 2, 4), weights(1, 2, 2, 3, start=50)]
    case("past", *heads, rest=["", *past], is_causal=1)
    case("present_keys", *heads, rest=["", *past], outputs=3, take=1)
    case("shares", *heads, outputs=4, take=3, qk_matmul_output_mode=3)
    case("padded_keys", *heads, rest=["", "", "", np.array([3])], opset=24)
    case("window", *heads, opset=25, left_window_size=1, right_window_size=2)


def convolutions() -> None:
    def case(name, **attributes):
        problem(
            f"conv_transpose/{name}", [1, 2, 4, 3],
            lambda g, x: g("ConvTranspose", x, weights(2, 3, 3, 3), weights(3, start=70), **attributes),
        )  # fmt: skip

    case("output_shape", strides=[2, 2], output_shape=[8, 5])
    case("output_shape_upper", strides=[3, 2], output_shape=[10, 6], auto_pad="SAME_UPPER")
    case("output_shape_larger", strides=[3, 2], output_shape=[13, 8])
    problem(
        "conv_transpose/output_shape_groups", [1, 4, 3, 4],
        lambda g, x: g("ConvTranspose", x, weights(4, 2, 2, 3), group=2, strides=[2, 1], output_shape=[5, 5]),
    )  # fmt: skip


def einsums() -> None:
    def case(name, shape, equation, *rest):
        problem(f"einsum/{name}", shape, lambda g, x: g("Einsum", x, *rest, equation=equation))

    case("ellipsis", [1, 2, 3, 4], "...w,wd->...d", weights(4, 3))
    case("ellipsis_both", [2, 1, 3, 4], "...ij,...jk->...ik", weights(2, 4, 2))
    case("implied_output", [1, 3, 4], "bij, bjk", weights(1, 4, 2))
    case("diagonal", [2, 3, 3], "...ii->...i")
    case("trace", [2, 3, 3], "bii->b")


def pools() -> None:
    def powers(p):
        return lambda g, x: g("Pow", g("ReduceSum", g("Pow", g("Abs", x), np.array(p, np.float32)), np.array([2, 3])), np.array(1 / p, np.float32))

    problem("pool/GlobalLpPool", [1, 3, 4, 5], lambda g, x: g("GlobalLpPool", x), same_as=powers(2.0))
    problem("pool/GlobalLpPool_cubes", [1, 3, 4, 5], lambda g, x: g("GlobalLpPool", x, p=3), shift=2.0, same_as=powers(3.0))
    problem("pool/LpPool", [1, 2, 5, 6], lambda g, x: g("LpPool", x, kernel_shape=[3, 2], strides=[2, 2]))
    problem("pool/LpPool_pads", [1, 2, 5, 6], lambda g, x: g("LpPool", x, kernel_shape=[2, 2], pads=[1, 0, 1, 1], p=3), shift=2.0)


    problem("pool/LpPool_3d", [1, 2, 3, 4, 3], lambda g, x: g("LpPool", x, kernel_shape=[2, 2, 2]))
    problem("pool/MaxPool_3d", [1, 2, 4, 5, 4], lambda g, x: g("MaxPool", x, kernel_shape=[2, 3, 2], strides=[1, 2, 2], pads=[1, 1, 0, 0, 1, 1], dilations=[2, 1, 1]))
    for name, options in dict(plain={}, pads=dict(pads=[1, 0, 1, 0, 1, 1]), counted=dict(pads=[1, 0, 1, 0, 1, 1], count_include_pad=1)).items():
        problem(
            f"pool/AveragePool_3d_{name}", [1, 2, 3, 4, 3],
            lambda g, x, o=options: g("AveragePool", x, kernel_shape=[2, 3, 2], strides=[1, 2, 2], ceil_mode=1, **o), opset=19,
        )  # fmt: skip


def resizes() -> None:
    corners = dict(mode="linear", coordinate_transformation_mode="align_corners")
    problem(
        "resize/fractional_corners", [1, 2, 5, 6], lambda g, x: g("Resize", x, "", np.array([1, 1, 1.5, 1.3], np.float32), **corners),
        same_as=lambda g, x: g("Resize", x, "", "", np.array([1, 2, 7, 7]), **corners),  # what onnxruntime and PyTorch compute
    )  # fmt: skip
    for policy in ("not_larger", "not_smaller"):
        for mode in ("linear", "cubic", "nearest"):
            problem(
                f"resize/{policy}_{mode}", [1, 2, 5, 6],
                lambda g, x, m=mode, p=policy: g("Resize", x, "", "", np.array([8, 7]), axes=[2, 3], mode=m, keep_aspect_ratio_policy=p),
                opset=18,
            )  # fmt: skip


def movements() -> None:
    problem("move/SpaceToDepth_CRD", [1, 2, 4, 6], lambda g, x: g("SpaceToDepth", x, blocksize=2, mode="CRD"), opset=28)
    problem("move/SpaceToDepth", [1, 2, 4, 6], lambda g, x: g("SpaceToDepth", x, blocksize=2))
    problem("move/CenterCropPad", [1, 3, 5, 4], lambda g, x: g("CenterCropPad", x, np.array([2, 7]), axes=[2, 3]), opset=18)
    blocks = dict(strides=[2, 1], pads=[1, 0, 0, 1])
    problem("move/Col2Im", [1, 8, 12], lambda g, x: g("Col2Im", x, np.array([5, 4]), np.array([2, 2]), **blocks), opset=18)
    problem("move/ReverseSequence", [1, 4, 2, 3], lambda g, x: g("ReverseSequence", g("Squeeze", x, np.array([0])), np.array([4, 2]), batch_axis=1, time_axis=0))
    problem("move/TensorScatter", [1, 2, 2, 3], lambda g, x: g("TensorScatter", weights(1, 2, 5, 3), x, np.array([4]), mode="circular"), opset=24)


def sequences() -> None:
    for name, options in dict(plain={}, reverse=dict(reverse=1), exclusive=dict(exclusive=1)).items():
        problem(f"sequence/CumSum_{name}", [2, 4, 3], lambda g, x, o=options: g("CumSum", x, np.array(1), **o))
        problem(f"sequence/CumProd_{name}", [2, 4, 3], lambda g, x, o=options: g("CumProd", x, np.array(1), **o), opset=26)
    for op, gates, more in (("RNN", 1, [weights(1, 8, start=9)]), ("GRU", 3, []), ("LSTM", 4, [])):
        problem(
            f"sequence/{op}", [1, 3, 4],
            lambda g, x, op=op, n=gates, more=more: g(op, g("Transpose", x, perm=[1, 0, 2]), weights(1, 4 * n, 4), weights(1, 4 * n, 4, start=300), *more, hidden_size=4),
        )  # fmt: skip
    problem(
        "sequence/GRU_reverse", [1, 5, 4],
        lambda g, x: g("GRU", g("Transpose", x, perm=[1, 0, 2]), weights(1, 9, 4), weights(1, 9, 3, start=300), weights(1, 18, start=500), hidden_size=3, direction="reverse", linear_before_reset=1),
    )  # fmt: skip
    problem(
        "sequence/LSTM_peepholes", [1, 5, 4],
        lambda g, x: g("LSTM", g("Transpose", x, perm=[1, 0, 2]), weights(1, 12, 4), weights(1, 12, 3, start=300), "", "", "", "", weights(1, 9, start=700), hidden_size=3),
    )  # fmt: skip
    problem(
        "sequence/LSTM_both_directions", [1, 3, 4],
        lambda g, x: g("LSTM", g("Transpose", x, perm=[1, 0, 2]), weights(2, 12, 4), weights(2, 12, 3, start=300), hidden_size=3, direction="bidirectional"),
    )  # fmt: skip


def losses() -> None:
    labels = np.array([[0, 2, 1]])
    for reduction in ("none", "sum", "mean"):
        problem(
            f"loss/cross_entropy_{reduction}", [1, 4, 3],
            lambda g, x, r=reduction: g("SoftmaxCrossEntropyLoss", x, labels, weights(4) + np.float32(1), reduction=r, ignore_index=2),
        )  # fmt: skip
    problem("loss/likelihood", [1, 3], lambda g, x: g("NegativeLogLikelihoodLoss", x, np.array([2]), weights(3)))


def others() -> None:
    def fraction(g, x):
        e = g("Exp", x)
        return g("Div", e, g("Add", e, np.array(1.0, np.float32)))

    problem("other/far_sigmoid", [1, 12], lambda g, x: g("Sigmoid", x), scale=30.0, same_as=fraction)
    problem("other/far_sigmoid_below", [1, 12], lambda g, x: g("Sigmoid", x), scale=5.0, shift=-24.0, same_as=fraction)
    problem("other/AffineGrid", [1, 2, 3], lambda g, x: g("AffineGrid", x, np.array([1, 1, 3, 4])), opset=20)
    problem("other/AffineGrid_corners", [1, 3, 4], lambda g, x: g("AffineGrid", x, np.array([1, 1, 2, 3, 4]), align_corners=1), opset=20)
    rois = np.array([[1, 0.5, 6, 5], [0, 0, 3, 4]], np.float32)
    problem(
        "other/RoiAlign", [1, 2, 7, 8],
        lambda g, x: g("RoiAlign", x, rois, np.array([0, 0]), output_height=3, output_width=2, sampling_ratio=2, spatial_scale=0.9),
    )  # fmt: skip
    problem("other/Swish_alpha", [1, 8], lambda g, x: g("Swish", x, alpha=1.7), opset=24, scale=3.0)
    channels = [weights(3) + np.float32(1), weights(3, start=5), weights(3, start=9), weights(3, start=13) + np.float32(1)]
    problem("other/BatchNormalization_training", [1, 3, 4, 2], lambda g, x: g("BatchNormalization", x, *channels, training_mode=1, outputs=3)[0])


def constant(name: str, value) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def control_flow() -> None:
    def branch(nodes, output):
        return helper.make_graph(nodes, output, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)])

    def squeeze(g, x):
        """As PyTorch exports `squeeze(1)`: the axis goes if its extent is 1."""
        extent = g("Gather", g("Shape", x), np.array(1), axis=0)
        is_one = g("Equal", extent, np.array(1))
        axes = g.constant(np.array([1]))
        yes = branch([helper.make_node("Squeeze", [x, axes], ["squeezed"])], "squeezed")
        no = branch([helper.make_node("Identity", [x], ["kept"])], "kept")
        return g("Mul", g("If", is_one, then_branch=yes, else_branch=no), weights(3, 4))

    problem("control/If_taken", [1, 1, 3, 4], squeeze)
    problem("control/If_not_taken", [1, 2, 3, 4], squeeze)

    def loop(g, x):
        """x ← x · w + round, three times, and every step."""
        number = [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, [])]
        state = helper.make_tensor_value_info("state", TensorProto.FLOAT, None)
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go"], ["go_on"]),
                helper.make_node("Cast", ["i"], ["count"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["state", g.constant(weights(4))], ["scaled"]),
                helper.make_node("Add", ["scaled", "count"], ["next"]),
                helper.make_node("Tanh", ["next"], ["row"]),
            ],
            "body", [*number, state],
            [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), *(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("next", "row"))],
        )  # fmt: skip
        last, rows = g("Loop", np.array(3), np.array(True), x, body=body, outputs=2)
        return g("Add", g("ReduceSum", rows, np.array([0]), keepdims=0), last)

    problem("control/Loop", [1, 4], loop)

    def scan(g, x):
        """Running sums of the rows, scaled."""
        body = helper.make_graph(
            [helper.make_node("Add", ["sum", "row"], ["next"]), helper.make_node("Tanh", ["next"], ["shown"])],
            "body", [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("sum", "row")],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("next", "shown")],
        )  # fmt: skip
        last, rows = g("Scan", weights(3), g("Squeeze", x, np.array([0])), body=body, num_scan_inputs=1, outputs=2)
        return g("Add", rows, last)

    problem("control/Scan", [1, 4, 3], scan)


def narrow() -> None:
    """Weights of a few bits, as they leave quantizers."""

    def case(name, kind, array, opset=21, scale=0.05, **attributes):
        def build(g, x):
            tensor = helper.make_tensor(f"narrow_{name}", kind, array.shape, array.reshape(-1))
            g.weights.append(tensor)
            weight = g("DequantizeLinear", tensor.name, np.array(scale, np.float32), **attributes)
            return g("MatMul", x, weight)

        problem(f"narrow/{name}", [1, 3], build, opset=opset)

    case("int4", TensorProto.INT4, np.array([[-8, 7, 1], [3, -2, 0], [5, 4, -1]]))
    case("uint4", TensorProto.UINT4, np.array([[15, 7, 1], [3, 2, 0], [5, 4, 9]]))
    case("float4", TensorProto.FLOAT4E2M1, np.array([[0.5, -1.5, 3], [6, 2, -2], [1, 4, -6]], np.float32), opset=23, scale=[0.5, 0.25, 2], axis=1)
    case("float8", TensorProto.FLOAT8E4M3FN, np.array([[0.5, -1.25, 3], [240, 0.0625, -2], [1, 448, -7]], np.float32))


def microsoft() -> None:
    """What onnxruntime's optimiser makes of convolutions, products and attention, against ONNX's own operators."""
    ours = dict(domain="com.microsoft")

    def attend(g, q, k, v, bias=None):
        """Attention of two heads of four, for [1, length, 8]."""
        split = lambda x, perm: g("Transpose", g("Reshape", x, np.array([1, -1, 2, 4])), perm=perm)
        logits = g("Mul", g("MatMul", split(q, [0, 2, 1, 3]), split(k, [0, 2, 3, 1])), np.array(0.5, np.float32))
        if bias is not None:
            logits = g("Add", logits, bias)
        y = g("MatMul", g("Softmax", logits, axis=-1), split(v, [0, 2, 1, 3]))
        return g("Reshape", g("Transpose", y, perm=[0, 2, 1, 3]), np.array([1, -1, 8]))

    kernel, bias, map_ = weights(3, 2, 3, 3), weights(3, start=70), weights(1, 3, 4, 3, start=400)
    problem(
        "microsoft/FusedConv", [1, 2, 6, 5],
        lambda g, x: g("FusedConv", x, kernel, bias, map_, activation="LeakyRelu", activation_params=[0.1], **ours),
        same_as=lambda g, x: g("LeakyRelu", g("Add", g("Conv", x, kernel, bias), map_), alpha=0.1),
    )  # fmt: skip
    problem(
        "microsoft/FusedMatMul", [1, 2, 4, 3],
        lambda g, x: g("FusedMatMul", x, weights(5, 4), transA=1, transB=1, alpha=0.7, **ours),
        same_as=lambda g, x: g("Mul", g("MatMul", g("Transpose", x, perm=[0, 1, 3, 2]), weights(5, 4).T.copy()), np.array(0.7, np.float32)),
    )  # fmt: skip
    to_q, to_k, to_v = (weights(6, 8, start=s) for s in (0, 100, 200))
    added = weights(24, start=300)
    causal = np.triu(np.full((3, 3), -1e9, np.float32), 1)

    def projected(g, x):
        return [g("Add", g("MatMul", x, m), added[i * 8 : i * 8 + 8].copy()) for i, m in enumerate((to_q, to_k, to_v))]

    problem(
        "microsoft/Attention", [1, 3, 6],
        lambda g, x: g("Attention", x, np.concatenate([to_q, to_k, to_v], 1), added, num_heads=2, unidirectional=1, **ours),
        same_as=lambda g, x: attend(g, *projected(g, x), causal),
    )  # fmt: skip
    problem(
        "microsoft/MultiHeadAttention", [1, 3, 6],
        lambda g, x: g("MultiHeadAttention", *(g("MatMul", x, m) for m in (to_q, to_k, to_v)), added, np.array([[1, 1, 0]], np.int32), num_heads=2, **ours),
        same_as=lambda g, x: attend(g, *projected(g, x), np.array([[[[0, 0, -10000]]]], np.float32)),
    )  # fmt: skip


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for family in (attention, convolutions, einsums, pools, resizes, movements, sequences, losses, others, control_flow, narrow, microsoft):
            family()
    np.save(OUT / "values.npy", np.concatenate(values))
    (OUT / "problems.json").write_text(json.dumps(problems, indent=1) + "\n")
    size = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
    print(f"{len(problems)} problems, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
