"""Operators of `onnx_torch.py` that few networks have, each written from ONNX's text with PyTorch's own functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision


def text(a: dict, name: str, default: str) -> str:
    return a.get(name, default.encode()).decode()


def running(total, x, axis, a: dict):
    """A running sum or product, without the element itself where `exclusive`, from the end where `reverse`."""
    axis = int(axis) % x.dim()
    x = x.flip(axis) if a.get("reverse", 0) else x
    if a.get("exclusive", 0):
        first = torch.full_like(x.narrow(axis, 0, 1), 0.0 if total is torch.cumsum else 1.0)
        x = torch.cat([first, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
    y = total(x, axis)
    return y.flip(axis) if a.get("reverse", 0) else y


def product_over(x, axes=None, *, a):
    axes = axes.tolist() if axes is not None else a.get("axes", list(range(x.dim())))
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=bool(a.get("keepdims", 1)))
    return x


def scatter_elements(x, index, updates, *, a):
    axis, how = a.get("axis", 0), text(a, "reduction", "none")
    if how == "none":
        return x.scatter(axis, index, updates.to(x.dtype))
    return x.scatter_reduce(axis, index, updates.to(x.dtype), {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[how])


def gather_nd(x, index, *, a):
    if a.get("batch_dims", 0):
        return torch.stack([gather_nd(row, at, a={**a, "batch_dims": a["batch_dims"] - 1}) for row, at in zip(x, index)])
    return x[tuple(index.unbind(-1))]


def top_k(x, k, *, a):
    return tuple(torch.topk(x, int(k), a.get("axis", -1), bool(a.get("largest", 1)), True))


def compress(x, condition, *, a):
    return x.flatten()[condition] if "axis" not in a else x.index_select(a["axis"], torch.nonzero(condition).flatten())


def reverse_sequence(x, lengths, *, a):
    time, batch = a.get("time_axis", 0), a.get("batch_axis", 1)
    rows = []
    for row, n in zip(x.unbind(batch), lengths.tolist()):
        at = time if time < batch else time - 1
        rows.append(torch.cat([row.narrow(at, 0, n).flip(at), row.narrow(at, n, row.shape[at] - n)], at))
    return torch.stack(rows, batch)


def grid_sample(x, grid, *, a):
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(text(a, "mode", "linear"), text(a, "mode", "linear"))
    return F.grid_sample(x, grid.to(x.dtype), mode, text(a, "padding_mode", "zeros"), bool(a.get("align_corners", 0)))


def dft(x, length=None, axis=None, *, a):
    axis = int(axis) if axis is not None else a.get("axis", 1)
    axis %= x.dim()
    z = torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else torch.complex(x[..., 0], torch.zeros_like(x[..., 0]))
    n = int(length) if length is not None else x.shape[axis]
    z = torch.fft.ifft(z, n, axis) if a.get("inverse", 0) else torch.fft.fft(z, n, axis)
    return torch.view_as_real(z.narrow(axis, 0, n // 2 + 1) if a.get("onesided", 0) else z)


def recurrent(step, gates: int, has_c: bool):
    """A recurrent layer of `step(x Wᵀ, h, c, R, b_R, P)`, in the directions that the node says."""

    def run(x, w, r, b=None, lengths=None, h0=None, c0=None, p=None, *, a):
        assert lengths is None and not a.get("layout", 0)
        directions, hidden = w.shape[0], r.shape[2]
        reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[text(a, "direction", "forward")]
        every, last_h, last_c = [], [], []
        for d in range(directions):
            zeros = x.new_zeros(x.shape[1], hidden)
            h, c = (h0[d] if h0 is not None else zeros), (c0[d] if c0 is not None else zeros)
            bias = b[d] if b is not None else x.new_zeros(2 * gates * hidden)
            b_w, b_r = bias.chunk(2)
            states = []
            for row in reversed(x.unbind(0)) if reverse[d] else x.unbind(0):
                h, c = step(row @ w[d].T + b_w, h, c, r[d], b_r, None if p is None else p[d].chunk(3), a)
                states.append(h)
            every.append(torch.stack(states[::-1] if reverse[d] else states))
            last_h.append(h)
            last_c.append(c)
        outputs = (torch.stack(every, 1), torch.stack(last_h), torch.stack(last_c))
        return outputs if has_c else outputs[:2]

    return run


def rnn_step(xw, h, c, r, b, p, a):
    return torch.tanh(xw + h @ r.T + b), c


def gru_step(xw, h, c, r, b, p, a):
    (xz, xr, xh), (rz, rr, rh), (bz, br, bh) = xw.chunk(3, -1), r.chunk(3), b.chunk(3)
    z, reset = torch.sigmoid(xz + h @ rz.T + bz), torch.sigmoid(xr + h @ rr.T + br)
    inner = reset * (h @ rh.T + bh) if a.get("linear_before_reset", 0) else (reset * h) @ rh.T + bh
    return (1 - z) * torch.tanh(xh + inner) + z * h, c


def lstm_step(xw, h, c, r, b, p, a):
    i, o, f, g = (xw + h @ r.T + b).chunk(4, -1)
    p = p or (0.0, 0.0, 0.0)
    c_next = torch.sigmoid(f + p[2] * c) * c + torch.sigmoid(i + p[0] * c) * torch.tanh(g)
    return torch.sigmoid(o + p[1] * c_next) * torch.tanh(c_next), c_next


def along(x, parameter, axis: int):
    """A scale or zero that varies along one axis, so that it broadcasts."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return parameter.reshape(shape)


def quantize(x, scale, zero=None, *, a):
    """Whole numbers as floats; straight-through: the gradient of the clipped, unrounded number."""
    low, high = (-128, 127) if zero is not None and zero.dtype == torch.int8 else (0, 255)
    zero = torch.zeros(1) if zero is None else zero
    steps, zero = x / along(x, scale, a.get("axis", 1)), along(x, zero, a.get("axis", 1)).to(x.dtype)
    whole = (steps.round() + zero).clamp(low, high)
    real = (steps + zero).clamp(low - 0.5, high + 0.5)
    return whole.detach() + real - real.detach()


def dequantize(x, scale, zero=None, *, a):
    zero = torch.zeros(1) if zero is None else zero
    return (x.to(scale.dtype) - along(x, zero, a.get("axis", 1)).to(scale.dtype)) * along(x, scale, a.get("axis", 1))


def max_unpool(x, index, *, a):
    strides = a.get("strides", [1] * len(a["kernel_shape"]))
    shape = [*x.shape[:2], *((n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, a["kernel_shape"]))]
    return x.new_zeros(torch.Size(shape).numel()).index_put((index.flatten(),), x.flatten()).reshape(shape)


def roi_align(x, rois, batch, *, a):
    boxes = torch.cat([batch[:, None].to(x.dtype), rois.to(x.dtype)], 1)
    aligned = text(a, "coordinate_transformation_mode", "half_pixel") == "half_pixel"
    size = (a.get("output_height", 1), a.get("output_width", 1))
    return torchvision.ops.roi_align(x, boxes, size, a.get("spatial_scale", 1.0), a.get("sampling_ratio", 0), aligned)


def deform_conv(x, w, offset, b=None, mask=None, *, a):
    pads = a.get("pads", [0] * 4)
    return torchvision.ops.deform_conv2d(x, offset, w, b, a.get("strides", 1), pads[:2], a.get("dilations", 1), mask)


def col2im(x, size, block, *, a):
    return F.fold(x, size.tolist(), block.tolist(), a.get("dilations", 1), a.get("pads", [0])[0], a.get("strides", 1))


RARE = {
    "Acos": lambda x, *, a: x.acos(),
    "Acosh": lambda x, *, a: x.acosh(),
    "Asin": lambda x, *, a: x.asin(),
    "Asinh": lambda x, *, a: x.asinh(),
    "Atanh": lambda x, *, a: x.atanh(),
    "Cosh": lambda x, *, a: x.cosh(),
    "Sinh": lambda x, *, a: x.sinh(),
    "Tan": lambda x, *, a: x.tan(),
    "CumSum": lambda x, axis, *, a: running(torch.cumsum, x, axis, a),
    "CumProd": lambda x, axis, *, a: running(torch.cumprod, x, axis, a),
    "ReduceProd": product_over,
    "Det": lambda x, *, a: torch.linalg.det(x),
    "Trilu": lambda x, k=0, *, a: torch.triu(x, int(k)) if a.get("upper", 1) else torch.tril(x, int(k)),
    "TopK": top_k,
    "Compress": compress,
    "ReverseSequence": reverse_sequence,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "GridSample": grid_sample,
    "AffineGrid": lambda theta, size, *, a: F.affine_grid(theta, size.tolist(), bool(a.get("align_corners", 0))),
    "Col2Im": col2im,
    "DFT": dft,
    "RNN": recurrent(rnn_step, 1, False),
    "GRU": recurrent(gru_step, 3, False),
    "LSTM": recurrent(lstm_step, 4, True),
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "MaxUnpool": max_unpool,
    "RoiAlign": roi_align,
    "DeformConv": deform_conv,
}
