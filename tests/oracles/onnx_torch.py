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

from onnx_torch_rare import RARE


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


def _same_pads(x, w, a: dict) -> list[int]:
    """TensorFlow's padding: the output has ceil(input / stride) elements; what is odd goes to the end, or to the front."""
    spatial = w.dim() - 2
    begin, end = [], []
    for axis in range(spatial):
        size, stride, dilation = x.shape[axis + 2], a.get("strides", [1] * spatial)[axis], a.get("dilations", [1] * spatial)[axis]
        total = max((-(-size // stride) - 1) * stride + (w.shape[axis + 2] - 1) * dilation + 1 - size, 0)
        upper = a["auto_pad"] == b"SAME_UPPER"
        begin.append(total // 2 if upper else total - total // 2)
        end.append(total - begin[-1])
    return begin + end


def conv(x, w, b=None, *, a):
    spatial = w.dim() - 2
    if a.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        a = {**a, "pads": _same_pads(x, w, a), "auto_pad": b"NOTSET"}
    _refuse_auto_pad(a)
    padding, explicit = _split_pads(a.get("pads", [0] * 2 * spatial), spatial)
    if explicit:
        x = F.pad(x, explicit)
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]
    return run(x, w, b, a.get("strides", 1), padding, a.get("dilations", 1), a.get("group", 1))


def max_pool(x, *, a):
    _refuse_auto_pad(a)
    spatial = len(a["kernel_shape"])
    padding, explicit = _split_pads(a.get("pads", [0] * 2 * spatial), spatial)
    if explicit:
        x = F.pad(x, explicit, value=float("-inf"))
    run = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[spatial]
    return run(x, a["kernel_shape"], a.get("strides", [1] * spatial), padding, a.get("dilations", [1] * spatial), bool(a.get("ceil_mode", 0)))


def average_pool(x, *, a):
    _refuse_auto_pad(a)
    spatial = len(a["kernel_shape"])
    padding, explicit = _split_pads(a.get("pads", [0] * 2 * spatial), spatial)
    options = (a["kernel_shape"], a.get("strides", [1] * spatial), padding, bool(a.get("ceil_mode", 0)))
    include = bool(a.get("count_include_pad", 0))
    run = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[spatial]
    if explicit is None:
        return run(x, *options, count_include_pad=include)
    total = run(F.pad(x, explicit), *options)
    return total if include else total / run(F.pad(torch.ones_like(x[:1, :1]), explicit), *options)


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
            x = x.index_select(axis, torch.from_numpy(np.arange(x.shape[axis])[max(start, -(2**62)) : None if end < -x.shape[axis] else end : step].copy()))
            continue
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


def pad(x, pads=None, value=None, axes=None, *, a):
    mode = a.get("mode", b"constant").decode()
    pads = _axes(a, "pads", pads)
    rank = x.dim()
    if axes is not None:
        given, full = [v % rank for v in axes.tolist()], [0] * (2 * rank)
        for place, axis in enumerate(given):
            full[axis], full[axis + rank] = pads[place], pads[place + len(given)]
        pads = full
    if mode != "constant":
        return pad_by_index(x, pads, mode)
    explicit = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[axis + rank])]
    return F.pad(x, explicit, value=float(a.get("value", 0.0) if value is None else value))


def pad_by_index(x, pads, mode):
    """Reflect and edge padding along any axis: a gather of existing slices, whatever PyTorch's own padding covers."""
    for axis in range(x.dim()):
        before, after, extent = pads[axis], pads[axis + x.dim()], x.shape[axis]
        if before or after:
            index = torch.arange(-before, extent + after)
            if mode == "edge":
                index = index.clamp(0, extent - 1)
            elif mode == "reflect":
                index = (extent - 1) - ((extent - 1) - index.abs()).abs()
            else:
                raise Unsupported(f"Pad, mode {mode}")
            x = x.index_select(axis, index)
    return x


def conv_transpose(x, w, b=None, *, a):
    if "output_shape" in a:
        raise Unsupported("ConvTranspose with output_shape")
    _refuse_auto_pad(a)
    spatial = w.dim() - 2
    pads = a.get("pads", [0] * 2 * spatial)
    run = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[spatial]
    full = run(x, w, b, a.get("strides", 1), 0, a.get("output_padding", 0), a.get("group", 1), a.get("dilations", 1))
    for axis in range(spatial):
        full = full.narrow(axis + 2, pads[axis], full.shape[axis + 2] - pads[axis] - pads[axis + spatial])
    return full


def resize(x, roi=None, scales=None, sizes=None, *, a):
    """Enlargement and shrinking as a product with one matrix for each axis, written from the ONNX specification."""
    if scales is None and sizes is None:  # opset 10 had two inputs and one frame
        scales, a = roi, {"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor", **a}
    if scales is not None and scales.numel() == 0:
        scales = None
    axes = [v % x.dim() for v in a.get("axes", range(x.dim()))]
    mode, frame = a.get("mode", b"nearest").decode(), a.get("coordinate_transformation_mode", b"half_pixel").decode()
    if a.get("antialias", 0) or a.get("exclude_outside", 0) or a.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise Unsupported("Resize with antialias, exclude_outside or an aspect ratio policy")
    for place, axis in enumerate(axes):
        extent = x.shape[axis]
        scale = float(scales[place]) if scales is not None else float(sizes[place]) / extent
        target = int(np.floor(extent * scale + 1e-9)) if scales is not None else int(sizes[place])
        if target == extent and scale == 1.0:
            continue
        out = np.arange(target, dtype=np.float64)
        where = {
            "half_pixel": (out + 0.5) / scale - 0.5,
            "pytorch_half_pixel": (out + 0.5) / scale - 0.5 if target > 1 else out * 0 - 0.5,
            "asymmetric": out / scale,
            "align_corners": out * (extent - 1) / (target - 1) if target > 1 else out * 0,
        }.get(frame)
        if where is None:
            raise Unsupported(f"Resize, {frame}")
        matrix = np.zeros((target, extent))
        if mode == "nearest":
            rounding = a.get("nearest_mode", b"round_prefer_floor").decode()
            whole = {
                "round_prefer_floor": np.ceil(where - 0.5), "round_prefer_ceil": np.floor(where + 0.5),
                "floor": np.floor(where), "ceil": np.ceil(where),
            }[rounding]  # fmt: skip
            matrix[np.arange(target), whole.clip(0, extent - 1).astype(int)] = 1
        else:
            low = np.floor(where).astype(int)
            rest = where - low
            if mode == "linear":
                taps = {0: 1 - rest, 1: rest}
            else:
                c = a.get("cubic_coeff_a", -0.75)
                near = lambda t: ((c + 2) * t - (c + 3)) * t * t + 1  # noqa: E731
                far = lambda t: ((c * t - 5 * c) * t + 8 * c) * t - 4 * c  # noqa: E731
                taps = {-1: far(rest + 1), 0: near(rest), 1: near(1 - rest), 2: far(2 - rest)}
            for shift, weight in taps.items():
                np.add.at(matrix, (np.arange(target), (low + shift).clip(0, extent - 1)), weight)
        x = (x.movedim(axis, -1) @ torch.from_numpy(matrix).to(x.dtype).T).movedim(-1, axis)
    return x


def lrn(x, *, a):
    """The window of channels reaches (size − 1) // 2 down and size // 2 up."""
    size = a["size"]
    squares = F.pad(x.square().unsqueeze(1), (0, 0) * (x.dim() - 2) + ((size - 1) // 2, size // 2)).squeeze(1)
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * total) ** a.get("beta", 0.75)


def depth_to_space(x, *, a):
    n, c, h, w = x.shape
    b = a["blocksize"]
    if a.get("mode", b"DCR") == b"CRD":
        return F.pixel_shuffle(x, b)
    return x.reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x, *, a):
    n, c, h, w = x.shape
    b = a["blocksize"]
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


def batched(function):
    """Max, Min, Sum and Mean take any number of inputs."""

    def run(*xs, a):
        total = xs[0]
        for x in xs[1:]:
            total = function(total, x)
        return total

    return run


def einsum(*xs, a):
    return torch.einsum(a["equation"].decode(), *xs)


def group_norm(x, scale, bias, *, a):
    groups = a["num_groups"]
    if scale.numel() != x.shape[1]:  # opset 18 gives one scale for each group
        scale, bias = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, bias))
    return F.group_norm(x, groups, scale, bias, a.get("epsilon", 1e-5))


def scatter_nd(x, index, updates, *, a):
    if a.get("reduction", b"none") != b"none":
        raise Unsupported("ScatterND with a reduction")
    return x.index_put(tuple(index.unbind(-1)), updates.to(x.dtype))


def clip(x, low=None, high=None, *, a):
    low, high = a.get("min", low), a.get("max", high)
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def integer_division(x, y):
    return torch.div(x, y, rounding_mode="trunc")


OPS = RARE | {
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
    "HardSwish": lambda x, *, a: F.hardswish(x),
    "Elu": lambda x, *, a: torch.where(x > 0, x, a.get("alpha", 1.0) * torch.expm1(x.clamp(max=0))),
    "Selu": lambda x, *, a: a.get("gamma", 1.0507010221481323) * torch.where(x > 0, x, a.get("alpha", 1.6732631921768188) * torch.expm1(x.clamp(max=0))),
    "Celu": lambda x, *, a: F.celu(x, a.get("alpha", 1.0)),
    "Softplus": lambda x, *, a: F.softplus(x, threshold=1e9) if x.abs().max() < 80 else F.softplus(x),
    "Softsign": lambda x, *, a: F.softsign(x),
    "Mish": lambda x, *, a: F.mish(x),
    "ThresholdedRelu": lambda x, *, a: torch.where(x > a.get("alpha", 1.0), x, torch.zeros_like(x)),
    "Gelu": lambda x, *, a: F.gelu(x, approximate=a.get("approximate", b"none").decode()),
    "Log": lambda x, *, a: x.log(),
    "Abs": lambda x, *, a: x.abs(),
    "Sin": lambda x, *, a: x.sin(),
    "Cos": lambda x, *, a: x.cos(),
    "Atan": lambda x, *, a: x.atan(),
    "Floor": lambda x, *, a: x.floor(),
    "Sign": lambda x, *, a: x.sign(),
    "Max": batched(torch.maximum),
    "Min": batched(torch.minimum),
    "Sum": batched(torch.add),
    "Mean": lambda *xs, a: sum(xs) / len(xs),
    "Einsum": einsum,
    "LRN": lrn,
    "ConvTranspose": conv_transpose,
    "Resize": resize,
    "Upsample": lambda x, scales, *, a: resize(x, None, scales, a={"coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor", **a}),
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "InstanceNormalization": lambda x, s, b, *, a: F.instance_norm(x, weight=s, bias=b, eps=a.get("epsilon", 1e-5)),
    "GroupNormalization": group_norm,
    "LogSoftmax": lambda x, *, a: F.log_softmax(x, a.get("axis", -1)),
    "GlobalMaxPool": lambda x, *, a: x.amax((2, 3), keepdim=True),
    "Tile": lambda x, repeats, *, a: x.repeat(tuple(repeats.tolist())),
    "ScatterND": scatter_nd,
    "GatherElements": lambda x, index, *, a: torch.gather(x, a.get("axis", 0), index),
    "ReduceL1": reduce_with(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceMin": reduce_with(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceSumSquare": reduce_with(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ReduceLogSumExp": reduce_with(lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
    "ReduceLogSum": reduce_with(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "Greater": lambda x, y, *, a: x > y,
    "Less": lambda x, y, *, a: x < y,
    "Not": lambda x, *, a: ~x,
    "And": lambda x, y, *, a: x & y,
    "Range": lambda start, limit, delta, *, a: torch.arange(start.item(), limit.item(), delta.item()),
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
