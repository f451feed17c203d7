"""Every ONNX node test with a floating-point input, put to fame-cli: value and input gradient, or a clear refusal.

    python node_tests.py FAME_CLI [--only REGEX] [--expanded] [--jobs N] [--backend SPEC] [--each]

The tests are those of the installed package `onnx`. A node's data inputs come from a picture, as
`base + scale · picture[a:b]` with the test's own values as base, so that every test keeps its range and no two values
tie; its other inputs are constants. All floating-point outputs (or, without one, all outputs) lie flat in `feat`.

The witness is the first of these that gives the test's own outputs: onnxruntime in f64, ONNX's reference evaluator in
f64, onnxruntime and the evaluator as the test is. Gradients are its central differences: of each element that feeds
the node, or of `DIRECTIONS` random directions where there are more. Of operators that quantise, they are those of the
operator without its rounding: fame's gradient is straight-through, and says so. So are those of casts to floats of
few bits.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import re
import sys
import warnings
import zlib
from collections import Counter
from typing import Callable

import numpy as np
import ml_dtypes
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test import loader
from onnx.reference import ReferenceEvaluator

from ask_fame import Problem, half_squared_distance, judge, normalised, settled, table, target_near

os.environ["ALLOW_RELEASED_ONNX_OPSET_ONLY"] = "0"  # onnxruntime may try opsets newer than itself
import onnxruntime  # noqa: E402

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
HALF = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
# Which inputs are data where it is not the first floating-point input alone; the rest are weights or settings.
ALL = tuple(range(16))
DATA = {op: ALL for op in "Add Sub Mul Div Pow Mod Max Min Mean Sum Concat MatMul Einsum Where Gemm SwiGLU".split()}
DATA |= {op: (0, 1, 2) for op in "Attention FlexAttention LinearAttention".split()}
DATA |= {op: (0, 2) for op in "ScatterElements ScatterND Scatter".split()}
DATA |= {"GridSample": (0, 1), "TensorScatter": (0, 1), "DeformConv": (0, 2, 4), "LSTM": (0, 5, 6), "GRU": (0, 5), "RNN": (0, 5)}
RANDOM = {"Bernoulli", "RandomNormalLike", "RandomUniformLike", "Multinomial"}

SPREAD = 0.01  # of a value, or of the median if it is smaller: the picture moves values by up to thrice this
DIRECTIONS = 16  # random ones: their relative distance is the gradient's to a fifth or so
OFF_TARGET, OFF_TARGET_HALF = 0.1, 0.3  # see `target_near`; half floats round by 1e-3 themselves
# Of ½‖feat − t‖²: an error of 1e-5 in feat is 2e-4 of it. Half floats: 2e-3 are 2 %.
VALUE, VALUE_HALF = 1e-3, 5e-2
# f32 against differences that agree with themselves to 1e-4 or better.
GRADIENT, GRADIENT_HALF = 1e-3, 3e-2
AGREE = 1e-2  # differences at two steps that are farther apart are no witness: a kink, or rounding
SAME, SAME_HALF = 1e-4, 2e-2  # a witness against the test's own outputs

Run = Callable[[dict[str, np.ndarray]], list]
Witness = Callable[[dict[str, np.ndarray]], np.ndarray]


def element_type(info: onnx.ValueInfoProto) -> int:
    return info.type.tensor_type.elem_type if info.type.HasField("tensor_type") else TensorProto.UNDEFINED


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in f64."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)

    def tensor(t: onnx.TensorProto) -> None:
        if t.data_type in FLOATS:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))

    def nodes(of) -> None:
        for node in of:
            for a in node.attribute:
                if a.name in ("to", "dtype", "output_dtype") and a.i in FLOATS:
                    a.i = TensorProto.DOUBLE
                if node.op_type == "Constant" and a.name in ("value_float", "value_floats"):
                    values = np.array(a.f if a.name == "value_float" else a.floats, np.float64)
                    a.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(values)))
                if a.HasField("t"):
                    tensor(a.t)
                for inner in [a.g] if a.HasField("g") else a.graphs:
                    graph(inner)

    def graph(g: onnx.GraphProto) -> None:
        nodes(g.node)
        for t in g.initializer:
            tensor(t)
        for info in [*g.input, *g.output, *g.value_info]:
            if element_type(info) in FLOATS:
                info.type.tensor_type.elem_type = TensorProto.DOUBLE

    graph(wide.graph)
    for function in wide.functions:
        nodes(function.node)
    return wide


def by_onnxruntime(model: onnx.ModelProto) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def by_reference(model: onnx.ModelProto) -> Run:
    evaluator = ReferenceEvaluator(model)
    return lambda feeds: evaluator.run(None, feeds)


def same(given: np.ndarray, right: np.ndarray, tolerance: float) -> bool:
    """Whether `given` is `right` but for rounding."""
    scale = np.abs(right[np.isfinite(right)]).max(initial=0) or 1
    return given.shape == right.shape and np.allclose(given, right, tolerance, tolerance * scale, equal_nan=True)


class Case:
    """A node test as a network of its data inputs: all other inputs are constants."""

    def __init__(self, name: str, model: onnx.ModelProto, inputs: list, expected: list):
        self.name = name
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.types = {i.name: element_type(i) for i in graph.input}
        given = {i.name: v for i, v in zip(graph.input, inputs)}
        self.data = {n: as_array(given[n]) for n in self.data_inputs() if as_array(given[n]).size}
        graph.initializer.extend(as_tensor(v, n) for n, v in given.items() if n not in self.data)
        kept = [i for i in graph.input if i.name in self.data]
        del graph.input[:]
        graph.input.extend(kept)
        for i, node in enumerate(graph.node):
            node.name = node.name or f"tested_{i}"
        outputs = [element_type(o) for o in graph.output]
        self.used = [i for i, t in enumerate(outputs) if t in FLOATS] or list(range(len(outputs)))
        self.half = bool(HALF & ({self.types[n] for n in self.data} | set(outputs)))
        self.operator = graph.node[-1].op_type
        self.random = bool(any(n.op_type in RANDOM for n in graph.node) or re.match("test_training_dropout(?!_zero)", name))
        self.names = {n.op_type for n in graph.node} | {n.name for n in graph.node}
        self.expected = self.flat(expected)

    def data_inputs(self) -> list[str]:
        nodes = self.model.graph.node
        floats = [name for name, t in self.types.items() if t in FLOATS]
        if len(nodes) > 1 or nodes[0].op_type not in DATA:
            return floats[:1]
        wanted = [nodes[0].input[i] for i in DATA[nodes[0].op_type] if i < len(nodes[0].input)]
        return [n for n in dict.fromkeys(wanted) if n in floats]

    def flat(self, outputs: list) -> np.ndarray:
        return np.concatenate([as_array(outputs[i]).astype(np.float64).reshape(-1) for i in self.used])

    def witness(self) -> Witness | None:
        """What gives the test's own outputs, in f64 if that can be."""
        wide = widened(self.model)
        for make, model in ((by_onnxruntime, wide), (by_reference, wide), (by_onnxruntime, self.model), (by_reference, self.model)):
            try:
                run = make(model)
                kinds = {n: np.dtype(np.float64) if model is wide else v.dtype for n, v in self.data.items()}

                def ask(feeds: dict[str, np.ndarray], run=run, kinds=kinds) -> np.ndarray:
                    return self.flat(run({n: v.astype(kinds[n]) for n, v in feeds.items()}))

                if same(ask(self.data), self.expected, SAME_HALF if self.half else SAME):
                    return ask
            except Exception:  # noqa: BLE001, S112: whatever stops a witness, the next is asked
                continue
        return None


def as_array(value) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def as_tensor(value, name: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto()
    tensor.CopyFrom(value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value), name))
    tensor.name = name
    return tensor


def parts(sizes: list[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes])
    return [slice(int(a), int(b)) for a, b in zip(ends, ends[1:])]


def wrapped(case: Case, side: int, bases: np.ndarray, scales: np.ndarray, cuts: list[slice]) -> onnx.ModelProto:
    """The test's graph behind a picture and in front of `feat`."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    opset = next((o for o in model.opset_import if o.domain == ""), None) or model.opset_import.add(version=13)
    opset.version = max(opset.version, 7)  # the first in which Mul and Add broadcast as today
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    before = [helper.make_node("Reshape", ["picture", constant("flat_shape", np.array([-1]))], ["flat"], "before")]
    for name, cut in zip(case.data, cuts):
        steps = [("Slice", [constant(f"{name}_begin", np.array([cut.start])), constant(f"{name}_end", np.array([cut.stop]))], {})]
        if opset.version < 10:
            constants[-2:] = []
            steps = [("Slice", [], {"starts": [cut.start], "ends": [cut.stop]})]
        steps += [
            ("Mul", [constant(f"{name}_scale", scales[cut])], {}),
            ("Add", [constant(f"{name}_base", bases[cut])], {}),
            ("Reshape", [constant(f"{name}_shape", np.array(case.data[name].shape, np.int64))], {}),
        ]
        if case.types[name] != TensorProto.FLOAT:
            steps.append(("Cast", [], {"to": case.types[name]}))
        at = "flat"
        for i, (operator, more, attributes) in enumerate(steps):
            then = name if i + 1 == len(steps) else f"{name}_{i}"
            before.append(helper.make_node(operator, [at, *more], [then], f"before_{name}_{i}", **attributes))
            at = then

    after, flat = [], []
    for i in case.used:
        at = graph.output[i].name
        if element_type(graph.output[i]) != TensorProto.FLOAT:
            after.append(helper.make_node("Cast", [at], [f"feat_{i}_f32"], f"after_cast_{i}", to=TensorProto.FLOAT))
            at = f"feat_{i}_f32"
        after.append(helper.make_node("Reshape", [at, "feat_shape"], [f"feat_{i}"], f"after_{i}"))
        flat.append(f"feat_{i}")
    constant("feat_shape", np.array([1, -1]))
    join = helper.make_node("Concat", flat, ["feat"], "after", axis=1) if len(flat) > 1 else helper.make_node("Identity", flat, ["feat"], "after")

    tested = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*before, *tested, *after, join])
    graph.initializer.extend(constants)
    graph.input.append(helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, side, side]))
    graph.output.append(helper.make_tensor_value_info("feat", TensorProto.FLOAT, None))
    return model


def slopes(loss: Callable[[np.ndarray], float], at: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, float]:
    """Central differences along each direction, and how far two step sizes disagree: the best of several steps."""
    best, disagreement = np.zeros(len(directions)), math.inf
    for step in (1e-3, 1e-2, 1e-1, 0.5):
        once, twice = (np.array([(loss(at + h * d) - loss(at - h * d)) / (2 * h) for d in directions]) for h in (step, 2 * step))
        apart = float(np.linalg.norm(once - twice) / max(np.linalg.norm(once), np.linalg.norm(twice), 1e-300))
        if not np.any(once) and not np.any(twice):
            return once, 0.0
        if apart < disagreement:
            best, disagreement = once, apart
        if apart < 1e-5:
            break
    return best, disagreement


def whole(dtype: np.dtype) -> bool:
    try:
        ml_dtypes.iinfo(dtype)
    except ValueError:
        return False
    return True


def bounds(dtype: np.dtype) -> tuple[float, float]:
    """What rounds to a number of this type: half a step beyond its least and greatest."""
    if whole(dtype):
        return ml_dtypes.iinfo(dtype).min - 0.5, ml_dtypes.iinfo(dtype).max + 0.5
    high = float(ml_dtypes.finfo(dtype).max)
    step = 2.0 ** (math.floor(math.log2(high)) - ml_dtypes.finfo(dtype).nmant)
    return -high - step / 2, high + step / 2


def unrounded(x: np.ndarray, scale, zero: np.ndarray, axis: int = 1, block: int = 0) -> np.ndarray:
    """`QuantizeLinear` but for its rounding: what rounds into the range is inside of it."""
    return np.clip(x / along(x, scale, axis, block) + along(x, zero, axis, block), *bounds(zero.dtype))


def real(q: np.ndarray, scale, zero: np.ndarray, axis: int = 1) -> np.ndarray:
    """`DequantizeLinear`."""
    return (q.astype(np.float64) - along(q, zero, axis)) * along(q, scale, axis)


def along(x: np.ndarray, parameter, axis: int, block: int = 0) -> np.ndarray:
    parameter = np.asarray(parameter).astype(np.float64)
    if block:
        return np.repeat(parameter, block, axis)[tuple(map(slice, x.shape))]
    if parameter.size == 1:
        return parameter.reshape(())
    return parameter.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def straight_through(case: Case) -> Witness | None:
    """A quantising operator but for its rounding, which fame's gradient passes: its differences are the right gradient."""
    node = case.model.graph.node[0]
    fixed = {t.name: numpy_helper.to_array(t) for t in case.model.graph.initializer}
    number = {a.name: a.i for a in node.attribute}
    if len(case.model.graph.node) == 1 and node.op_type in ("Cast", "CastLike"):
        return straight_cast(case, node, fixed, number)
    if len(case.model.graph.node) > 1 or node.op_type not in ("QuantizeLinear", "QLinearMatMul", "QLinearConv"):
        return None
    zero = {"QuantizeLinear": 2}.get(node.op_type, 7)
    if len(node.input) <= zero and "output_dtype" not in number:
        return None
    axis, block = number.get("axis", 1), number.get("block_size", 0)

    def ask(feeds: dict[str, np.ndarray]) -> np.ndarray:
        given = [({**fixed, **feeds})[name] for name in node.input]
        if node.op_type == "QuantizeLinear":
            if len(given) < 3:
                given.append(np.zeros_like(given[1], helper.tensor_dtype_to_np_dtype(number["output_dtype"])))
            y = unrounded(*given, axis=axis, block=block)
        elif node.op_type == "QLinearMatMul":
            y = unrounded(real(*given[:3], axis=-2) @ real(*given[3:6], axis=-1), *given[6:])
        else:
            import torch

            x, kernel = (torch.from_numpy(real(*given[i : i + 3], axis=1 - i // 3)) for i in (0, 3))
            y = unrounded(torch.nn.functional.conv2d(x, kernel).numpy(), *given[6:8])
        return y.reshape(-1)

    return ask


def straight_cast(case: Case, node: onnx.NodeProto, fixed: dict[str, np.ndarray], number: dict[str, int]) -> Witness | None:
    """A cast to a float of few bits but for its rounding."""
    to = helper.tensor_dtype_to_np_dtype(number["to"]) if node.op_type == "Cast" else fixed[node.input[1]].dtype
    if whole(to) or to.itemsize > 1 or to == ml_dtypes.float8_e8m0fnu:
        return None
    return lambda feeds: np.clip(feeds[node.input[0]], *bounds(to)).reshape(-1)


def problem_of(case: Case) -> Problem | str:
    """The problem that a test becomes, or why it becomes none."""
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    if not case.data:
        return "its floating-point inputs are empty"
    if not case.expected.size:
        return "its output is empty"
    # A picture never makes a network's values infinite or NaN: where a test has such inputs, they become ±1.
    own = [np.nan_to_num(v.astype(np.float32), nan=1, posinf=1, neginf=-1).reshape(-1) for v in case.data.values()]
    cuts = parts([v.size for v in own])
    own_values, count = np.concatenate(own), cuts[-1].stop
    side = max(4, math.ceil(math.sqrt(count / 3)))
    picture = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    at = normalised(picture).reshape(-1)[:count].astype(np.float64)
    sizes = [np.maximum(np.abs(v), np.median(np.abs(v)) or 1) for v in own]
    scales = (SPREAD * np.concatenate(sizes) * rng.uniform(0.5, 1.5, count)).astype(np.float32)
    problem = Problem(
        case.name, case.operator, wrapped(case, side, own_values, scales, cuts), picture, np.zeros(case.expected.size, np.float32),
        None, VALUE_HALF if case.half else VALUE, None, GRADIENT_HALF if case.half else GRADIENT, case.names,
    )  # fmt: skip
    if case.random:
        return problem
    witness = case.witness()
    if witness is None:
        return "neither onnxruntime nor the reference evaluator gives the test's own outputs"

    def feat(x: np.ndarray, bases: np.ndarray) -> np.ndarray:
        values = bases.astype(np.float64) + scales * x
        return witness({n: values[cut].reshape(v.shape) for (n, v), cut in zip(case.data.items(), cuts)})

    # At the edge of where an operator is defined, somewhat smaller or larger values are inside.
    shifted = ((own_values * np.float32(shift)).astype(np.float32) for shift in (1, 0.95, 1.05, 0.8, 1.2))
    bases = next((b for b in shifted if np.all(np.isfinite(feat(at, b)))), None)
    if bases is None:
        return problem
    clean = feat(at, bases)
    target = target_near(clean, OFF_TARGET_HALF if case.half else OFF_TARGET, rng)
    problem.model, problem.target = wrapped(case, side, bases, scales, cuts), target
    problem.value = half_squared_distance(clean, target)
    directions = np.eye(count) if count <= DIRECTIONS else rng.standard_normal((DIRECTIONS, count))
    straight = straight_through(case)

    def loss(x: np.ndarray) -> float:
        if straight is None:
            return half_squared_distance(feat(x, bases), target)
        # The cotangent is that of the rounded value.
        values = bases.astype(np.float64) + scales * x
        given = {n: values[cut].reshape(v.shape) for (n, v), cut in zip(case.data.items(), cuts)}
        return float((clean - target) @ straight(given))

    right, disagreement = slopes(loss, at, directions)
    if disagreement > AGREE:
        return f"differences at two steps are {disagreement:.1g} apart"

    def off(raw: np.ndarray) -> float:
        flat = raw.reshape(-1).astype(np.float64)
        found = np.concatenate([directions @ flat[:count], flat[count:]])
        return float(np.linalg.norm(found - np.pad(right, (0, flat.size - count))) / np.linalg.norm(right))

    problem.gradient_off = off if np.any(right) else None
    problem.gradient_tolerance = max(problem.gradient_tolerance, 10 * disagreement)
    return problem


def cases(only: str, expanded: bool) -> tuple[list[Case], Counter]:
    """The tests to run, and how many are not, by why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = loader.load_model_tests(kind="node")
    chosen, left = [], Counter()
    for test in every:
        graph = test.model.graph
        if not re.search(only, test.name) or ("_expanded" in test.name and not expanded):
            continue
        if not any(element_type(i) in FLOATS for i in graph.input):
            continue
        if any(not i.type.HasField("tensor_type") for i in [*graph.input, *graph.output]):
            left["an input or output is a sequence or optional"] += 1
            continue
        inputs, expected = test.data_sets[0]
        chosen.append(Case(test.name, test.model, inputs, expected))
    return chosen, left


def ask(case: Case, fame: str, backend: str) -> tuple[Problem | None, str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        problem = problem_of(case)
    if isinstance(problem, str):
        return None, "not run", problem
    verdict, told = judge(problem, fame, backend)
    problem.gradient_off = None  # a closure does not pass between processes
    return problem, verdict, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fame_cli")
    parser.add_argument("--only", default="", metavar="REGEX", help="tests whose name matches")
    parser.add_argument("--expanded", action="store_true", help="also operators written out as functions of simpler ones")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--backend", default="Tract(threads: 1)", metavar="SPEC")
    parser.add_argument("--each", action="store_true", help="print each test as it ends")
    args = parser.parse_args()
    chosen, left = cases(args.only, args.expanded)
    results = []
    with multiprocessing.Pool(args.jobs) as pool:
        waiting = [pool.apply_async(ask, (case, os.path.abspath(args.fame_cli), args.backend)) for case in chosen]
        for case, answer in zip(chosen, waiting):
            problem, verdict, told = answer.get()
            if problem is None:
                left[told.split(" are ")[0]] += 1
            else:
                results.append((problem, verdict, told))
            if args.each:
                print(f"{verdict:<8} {case.name}: {told}", flush=True)
    print(table(results))
    print("\nNot run:", *(f"{count:>5} {why}" for why, count in left.items()), sep="\n")
    sys.exit(not settled(results))


if __name__ == "__main__":
    main()
