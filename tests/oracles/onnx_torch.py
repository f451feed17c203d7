"""An ONNX graph as a PyTorch module: the second opinion on fame's gradients.

Node by node and without any optimisation, so that what autograd differentiates is exactly what the file says. It runs
in f32 and, after `.double()`, in f64. `check` compares its forward pass with onnxruntime, because an oracle that
misreads the graph would be worse than none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn


class Unsupported(Exception):
    pass


def prelu(x, slope, *, a):
    """PRelu's slope broadcasts from the right in ONNX, but old exporters write [C] and mean the channel axis."""
    per_channel = x.dim() > 1 and slope.numel() == x.shape[1] and (slope.dim() == 1 or slope.shape[-x.dim() + 1 :].numel() == slope.shape[-x.dim() + 1])
    if slope.numel() == 1 or per_channel:
        return F.prelu(x, slope.reshape(-1))  # one fused kernel, so that timings of this module are fair too
    return torch.where(x > 0, x, slope * x)


def _split_pads(pads: list[int], spatial: int) -> tuple[list[int], list[int] | None]:
    """PyTorch's symmetric padding, and what must be padded beforehand if the pads are asymmetric."""
    begin, end = pads[:spatial], pads[spatial:]
    if begin == end:
        return list(begin), None
    explicit = [p for axis in reversed(range(spatial)) for p in (begin[axis], end[axis])]
    return [0] * spatial, explicit


def _refuse_auto_pad(a: dict) -> None:
    if a.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise Unsupported(f"auto_pad {a['auto_pad'].decode()}")


def conv(x, w, b=None, *, a):
    _refuse_auto_pad(a)
    spatial = w.dim() - 2
    padding, explicit = _split_pads(a.get("pads", [0] * 2 * spatial), spatial)
    if explicit:
        x = F.pad(x, explicit)
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]
    return run(x, w, b, a.get("strides", 1), padding, a.get("dilations", 1), a.get("group", 1))


def max_pool(x, *, a):
    _refuse_auto_pad(a)
    padding, explicit = _split_pads(a.get("pads", [0, 0, 0, 0]), 2)
    if explicit:
        x = F.pad(x, explicit, value=float("-inf"))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), padding, a.get("dilations", [1, 1]), bool(a.get("ceil_mode", 0)))


def average_pool(x, *, a):
    _refuse_auto_pad(a)
    padding, explicit = _split_pads(a.get("pads", [0, 0, 0, 0]), 2)
    options = (a["kernel_shape"], a.get("strides", [1, 1]), padding, bool(a.get("ceil_mode", 0)))
    include = bool(a.get("count_include_pad", 0))
    if explicit is None:
        return F.avg_pool2d(x, *options, count_include_pad=include)
    total = F.avg_pool2d(F.pad(x, explicit), *options)
    return total if include else total / F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), explicit), *options)


def gemm(x, w, c=None, *, a):
    x = x.T if a.get("transA", 0) else x
    w = w.T if a.get("transB", 0) else w
    y = a.get("alpha", 1.0) * (x @ w)
    return y if c is None else y + a.get("beta", 1.0) * c


def reshape(x, shape, *, a):
    sizes = [x.shape[i] if d == 0 and not a.get("allowzero", 0) else d for i, d in enumerate(shape.tolist())]
    return x.reshape(sizes)


def flatten(x, *, a):
    axis = a.get("axis", 1)
    rows = int(np.prod(x.shape[:axis])) if axis else 1
    return x.reshape(rows, -1)


def softmax(x, *, a, opset):
    if opset >= 13:
        return F.softmax(x, a.get("axis", -1))
    axis = a.get("axis", 1)  # before opset 13 everything from the axis on was one long row
    return F.softmax(x.flatten(axis), -1).reshape(x.shape)


def layer_norm(x, scale, bias=None, *, a):
    axis = a.get("axis", -1) % x.dim()
    return F.layer_norm(x, x.shape[axis:], scale, bias, a.get("epsilon", 1e-5))


def slice_(x, starts, ends, axes=None, steps=None, *, a):
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps):
        if step < 1:
            raise Unsupported("Slice backwards")
        index = [slice(None)] * x.dim()
        index[axis] = slice(start, end, step)
        x = x[tuple(index)]
    return x


def slice_old(x, *, a):
    axes = a.get("axes", list(range(len(a["starts"]))))
    return slice_(x, *(torch.tensor(v) for v in (a["starts"], a["ends"], axes)), a=a)


def gather(x, index, *, a):
    axis = a.get("axis", 0) % x.dim()
    index = torch.where(index < 0, index + x.shape[axis], index)
    taken = x.index_select(axis, index.reshape(-1))
    return taken.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _axes(a, given, opset_inputs):
    axes = opset_inputs if opset_inputs is not None else a.get(given)
    return None if axes is None else [int(v) for v in (axes.tolist() if isinstance(axes, torch.Tensor) else axes)]


def unsqueeze(x, axes=None, *, a):
    axes = _axes(a, "axes", axes)
    rank = x.dim() + len(axes)
    for axis in sorted(v % rank for v in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x, axes=None, *, a):
    axes = _axes(a, "axes", axes)
    if axes is None:
        return x.squeeze()
    for axis in sorted((v % x.dim() for v in axes), reverse=True):
        x = x.squeeze(axis)
    return x


def reduce_with(function):
    def reduce(x, axes=None, *, a):
        axes = _axes(a, "axes", axes)
        if axes is None:
            axes = list(range(x.dim()))
        return function(x, axes, bool(a.get("keepdims", 1)))

    return reduce


def split(x, sizes=None, *, a):
    axis = a.get("axis", 0)
    sizes = _axes(a, "split", sizes)
    if sizes is None:
        sizes = [x.shape[axis] // a["num_outputs"]] * a["num_outputs"]
    return x.split(sizes, axis)


def pad(x, pads=None, value=None, *, a):
    if a.get("mode", b"constant") != b"constant":
        raise Unsupported(f"Pad, mode {a['mode'].decode()}")
    pads = _axes(a, "pads", pads)
    rank = x.dim()
    explicit = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[axis + rank])]
    return F.pad(x, explicit, value=float(a.get("value", 0.0) if value is None else value))


def clip(x, low=None, high=None, *, a):
    low, high = a.get("min", low), a.get("max", high)
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def integer_division(x, y):
    return torch.div(x, y, rounding_mode="trunc")


OPS = {
    "Add": lambda x, y, *, a: x + y,
    "Sub": lambda x, y, *, a: x - y,
    "Mul": lambda x, y, *, a: x * y,
    "Div": lambda x, y, *, a: x / y if x.is_floating_point() else integer_division(x, y),
    "Mod": lambda x, y, *, a: torch.fmod(x, y) if a.get("fmod", 0) else torch.remainder(x, y),
    "Pow": lambda x, y, *, a: x**y,
    "Sqrt": lambda x, *, a: x.sqrt(),
    "Reciprocal": lambda x, *, a: x.reciprocal(),
    "Exp": lambda x, *, a: x.exp(),
    "Erf": lambda x, *, a: x.erf(),
    "Neg": lambda x, *, a: -x,
    "Tanh": lambda x, *, a: x.tanh(),
    "Sigmoid": lambda x, *, a: x.sigmoid(),
    "HardSigmoid": lambda x, *, a: (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1),
    "Relu": lambda x, *, a: F.relu(x),
    "LeakyRelu": lambda x, *, a: F.leaky_relu(x, a.get("alpha", 0.01)),
    "PRelu": prelu,
    "Clip": clip,
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda x, *, a: x.mean((2, 3), keepdim=True),
    "BatchNormalization": lambda x, s, b, m, v, *, a: F.batch_norm(x, m, v, s, b, False, 0.0, a.get("epsilon", 1e-5)),
    "LayerNormalization": layer_norm,
    "Gemm": gemm,
    "MatMul": lambda x, y, *, a: x @ y,
    "Softmax": softmax,
    "Flatten": flatten,
    "Reshape": reshape,
    "Transpose": lambda x, *, a: x.permute(a.get("perm", list(reversed(range(x.dim()))))),
    "Concat": lambda *xs, a: torch.cat(xs, a["axis"]),
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Expand": lambda x, shape, *, a: x * torch.ones(shape.tolist(), dtype=x.dtype) if x.is_floating_point() else torch.broadcast_to(x, torch.broadcast_shapes(x.shape, shape.tolist())),
    "Pad": pad,
    "ReduceMean": reduce_with(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": reduce_with(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": reduce_with(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceL2": reduce_with(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "Identity": lambda x, *, a: x,
    "Dropout": lambda x, *rest, a: x,
    "Shape": lambda x, *, a: torch.tensor(x.shape[a.get("start", 0) : a.get("end", None)]),
    "Equal": lambda x, y, *, a: x == y,
    "Where": lambda c, x, y, *, a: torch.where(c, x, y),
}


class OnnxNet(nn.Module):
    def __init__(self, path: Path | str):
        super().__init__()
        model = onnx.load(str(path))
        self.path = Path(path)
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.nodes = []
        self.integers: dict[str, torch.Tensor] = {}
        self.slots: dict[str, str] = {}

        def hold(name: str, tensor: onnx.TensorProto) -> None:
            value = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            if value.is_floating_point():
                # Tensor names hold dots and slashes, which buffers must not.
                self.slots[name] = f"w{len(self.slots)}"
                self.register_buffer(self.slots[name], value)
            else:
                self.integers[name] = value

        for tensor in model.graph.initializer:
            hold(tensor.name, tensor)
        for node in model.graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                hold(node.output[0], attributes["value"])
            elif node.op_type in OPS or node.op_type in ("Cast", "ConstantOfShape"):
                self.nodes.append((node.op_type, list(node.input), list(node.output), attributes))
            else:
                raise Unsupported(f"{path}: the oracle has no {node.op_type}")
        known = set(self.slots) | set(self.integers)
        inputs = [v for v in model.graph.input if v.name not in known]
        self.input_name = inputs[0].name
        self.input_shape = [d.dim_value or 1 for d in inputs[0].type.tensor_type.shape.dim]
        self.output_names = [v.name for v in model.graph.output]
        # A tensor is dropped after its last reader: VGG at 224 would else hold gigabytes in a forward-only run.
        self.last_use = {name: i for i, (_, ins, _, _) in enumerate(self.nodes) for name in ins}
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor, taps: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
        """Every output of the graph, and every tensor named in `taps`."""
        wanted = set(self.output_names) | set(taps)
        values: dict[str, torch.Tensor | None] = {"": None, self.input_name: x, **self.integers}
        values.update({name: getattr(self, slot) for name, slot in self.slots.items()})
        for index, (op, inputs, outputs, attributes) in enumerate(self.nodes):
            given = [values[name] for name in inputs]
            while given and given[-1] is None:
                given.pop()
            if op == "Cast":
                kind = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"])
                result = given[0].to(x.dtype if np.issubdtype(kind, np.floating) else torch.from_numpy(np.zeros(1, kind)).dtype)
            elif op == "ConstantOfShape":
                value = torch.from_numpy(np.array(numpy_helper.to_array(attributes["value"]))) if "value" in attributes else torch.zeros(1)
                value = value.to(x.dtype) if value.is_floating_point() else value
                result = value.expand(given[0].tolist())
            elif op == "Softmax":
                result = softmax(*given, a=attributes, opset=self.opset)
            elif op == "Slice" and len(given) == 1:
                result = slice_old(*given, a=attributes)
            else:
                result = OPS[op](*given, a=attributes)
            for name, value in zip(outputs, result if isinstance(result, (tuple, list)) else [result]):
                values[name] = value
            for name in inputs:
                if self.last_use.get(name) == index and name not in wanted:
                    values.pop(name, None)
        missing = [name for name in wanted if name not in values]
        if missing:
            raise Unsupported(f"{self.path}: there is no tensor '{missing[0]}'")
        return {name: values[name] for name in (*self.output_names, *taps)}


def check(net: OnnxNet, x: np.ndarray) -> float:
    """Largest relative L2 distance between this forward pass and onnxruntime's, over all outputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(net.path), providers=["CPUExecutionProvider"])
    theirs = session.run(net.output_names, {net.input_name: x})
    with torch.no_grad():
        ours = net(torch.from_numpy(x))
    worst = 0.0
    for name, value in zip(net.output_names, theirs):
        mine = ours[name].numpy().astype(np.float64)
        worst = max(worst, float(np.linalg.norm(mine - value) / max(np.linalg.norm(value), 1e-30)))
    return worst


if __name__ == "__main__":
    from formula import noise

    for path in sys.argv[1:]:
        net = OnnxNet(path)
        x = noise(int(np.prod(net.input_shape)), 1).reshape(net.input_shape)
        print(f"{check(net, x):.2e}  {path}", flush=True)
