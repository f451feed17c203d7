"""Networks with what the classic classifiers lack: decoders that enlarge, branches with local response normalisation,
and a graph as TensorFlow's converter writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F


def block(inputs: int, outputs: int, activation: nn.Module, padding_mode: str = "zeros") -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding_mode, bias=False), nn.BatchNorm2d(outputs), activation)


class UNet(nn.Module):
    """Down by pooling, up by turns with transposed convolution, nearest and bilinear enlargement, and a classifier on top.

    Its activations (softplus, Mish, ELU, tanh) and paddings (reflect, replicate) are those no classifier of the zoo has.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int, int], classes: int):
        super().__init__()
        a, b, c, d = widths
        self.down1 = block(channels, a, nn.Softplus(), "reflect")
        self.down2 = block(a, b, nn.Mish(), "replicate")
        self.down3 = block(b, c, nn.ELU())
        self.bottom = block(c, d, nn.LeakyReLU(0.1))
        self.up3 = nn.ConvTranspose2d(d, c, 2, 2)
        self.join3 = block(2 * c, c, nn.SiLU())
        self.join2 = block(c + b, b, nn.Hardswish())
        self.join1 = block(b + a, a, nn.Tanh())
        self.widen = nn.ConvTranspose2d(a, a, 3, 2, 1, output_padding=1, groups=1)
        self.head = nn.Conv2d(a, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d1 = self.down1(x)
        d2 = self.down2(F.max_pool2d(d1, 2))
        d3 = self.down3(F.avg_pool2d(d2, 2))
        bottom = self.bottom(F.max_pool2d(d3, 2))
        u3 = self.join3(torch.cat([self.up3(bottom), d3], 1))
        u2 = self.join2(torch.cat([F.interpolate(u3, scale_factor=2, mode="nearest"), d2], 1))
        u1 = self.join1(torch.cat([F.interpolate(u2, scale_factor=2, mode="bilinear", align_corners=False), d1], 1))
        mask = self.head(self.widen(u1))
        return mask.mean((2, 3)) + mask.amax((2, 3))


class _OnnxLrn(torch.autograd.Function):
    """PyTorch's exporters write the normalisation out; this one keeps ONNX's operator."""

    @staticmethod
    def forward(_, x, size, alpha, beta, bias):
        return F.local_response_norm(x, size, alpha, beta, bias)

    @staticmethod
    def symbolic(g, x, size, alpha, beta, bias):
        return g.op("LRN", x, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=bias)


class Lrn(nn.Module):
    def __init__(self, size: int, alpha: float, beta: float, bias: float):
        super().__init__()
        self.parameters_of_onnx = (size, alpha, beta, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _OnnxLrn.apply(x, *self.parameters_of_onnx)


class BranchNet(nn.Module):
    """The first GoogLeNet's ideas: local response normalisation, branches of four kernels joined by concatenation."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        w = width
        self.stem = nn.Conv2d(3, w, 7, 2, 3)
        self.norm = Lrn(5, 0.5, 0.75, 2.0)
        self.one = nn.Conv2d(w, w // 2, 1)
        self.three = nn.Sequential(nn.Conv2d(w, w // 2, 1), nn.ReLU(), nn.Conv2d(w // 2, w, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(w, w // 4, 1), nn.ReLU(), nn.Conv2d(w // 4, w // 2, 5, padding=2))
        self.pooled = nn.Conv2d(w, w // 4, 1)
        self.after = Lrn(3, 0.3, 0.5, 1.0)
        joined = 2 * w + w // 4
        self.down = nn.Conv2d(joined, w, 3, 2, 1)
        self.fc = nn.Linear(w, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(F.max_pool2d(F.relu(self.stem(x)), 3, 2, ceil_mode=True))
        x = torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(F.max_pool2d(x, 3, 1, 1))], 1)
        x = F.relu(self.down(self.after(F.relu(x))))
        # A squared mean and a norm: reductions that classifiers seldom have.
        x = x.mean((2, 3)) + x.square().sum((2, 3)).add(1e-3).sqrt() / 10
        return self.fc(x)


def write_nhwc(path: Path, size: int, widths: tuple[int, ...], classes: int, seed: int) -> None:
    """A small residual network as tf2onnx writes one, opset 13.

    The input is NHWC. Every convolution stands between Transposes, padding is a Pad of its own or `auto_pad`, ReLU6 is a
    Clip between constants, hard-swish is spelt out, batch normalisation is a Mul and an Add on channels-last values, the
    mean is a ReduceMean over axes 1 and 2, the dense layer is MatMul and Add.
    """
    random = np.random.default_rng(seed)
    nodes, weights = [], []

    def constant(name: str, value: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op: str, inputs: list[str], name: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def f32(*shape: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
        return (random.standard_normal(shape) * scale + shift).astype(np.float32)

    def conv(x: str, inputs: int, outputs: int, kernel: int, name: str, stride: int = 1, group: int = 1) -> str:
        fan = inputs // group * kernel * kernel
        # TensorFlow stores kernels as HWIO and the converter transposes them; here that is one more node.
        hwio = constant(f"{name}/kernel", f32(kernel, kernel, inputs // group, outputs, scale=(2.0 / fan) ** 0.5))
        oihw = node("Transpose", [hwio], f"{name}/kernel_oihw", perm=[3, 2, 0, 1])
        y = node("Transpose", [x], f"{name}/nchw", perm=[0, 3, 1, 2])
        options = {"auto_pad": "SAME_UPPER"} if stride == 2 else {"pads": [kernel // 2] * 4}
        y = node("Conv", [y, oihw], f"{name}/conv", strides=[stride] * 2, group=group, kernel_shape=[kernel] * 2, **options)
        y = node("Transpose", [y], f"{name}/nhwc", perm=[0, 2, 3, 1])
        y = node("Mul", [y, constant(f"{name}/scale", f32(outputs, scale=0.1, shift=0.8))], f"{name}/scaled")
        return node("Add", [y, constant(f"{name}/shift", f32(outputs, scale=0.1))], f"{name}/out")

    low, high = constant("zero", np.float32(0)), constant("six", np.float32(6))
    three, sixth = constant("three", np.float32(3)), constant("sixth", np.float32(1 / 6))
    pads = constant("pads", np.array([0, 1, 1, 0, 0, 1, 1, 0], np.int64))
    x, inputs = node("Pad", ["input", pads], "padded", mode="reflect"), 3
    for index, width in enumerate(widths):
        x = conv(x, inputs, width, 3, f"stage{index}", stride=2)
        x = node("Clip", [x, low, high], f"stage{index}/relu6")
        y = conv(x, width, width, 3, f"block{index}", group=width)
        moved = node("Add", [y, three], f"block{index}/moved")
        gate = node("Mul", [node("Clip", [moved, low, high], f"block{index}/clipped"), sixth], f"block{index}/gate")
        y = conv(node("Mul", [y, gate], f"block{index}/hard_swish"), width, width, 1, f"project{index}")
        x = node("Add", [x, y], f"block{index}/sum")
        inputs = width
    x = node("ReduceMean", [x], "mean", axes=[1, 2], keepdims=0)
    x = node("MatMul", [x, constant("dense", f32(inputs, classes, scale=(1.0 / inputs) ** 0.5))], "matmul")
    node("Add", [x, constant("bias", f32(classes, scale=0.1))], "logits")
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, size, size, 3])
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes])
    graph = helper.make_graph(nodes, "nhwc", [given], [gives], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
