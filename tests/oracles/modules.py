"""The architectures written as plain PyTorch modules, apart from any ONNX file.

Two uses: `python modules.py --models DIR` checks the exporters, the Lite0 converter and the ONNX interpreter against
them (output and input gradient, in f64), and `bench_torch.py` times them, because eager PyTorch users run modules.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import nn

from formula import COTANGENT, INPUT, noise
from onnx_torch import OnnxNet

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "models" / "exporters"))
from adaface_iresnet import UNITS, IResNet  # noqa: E402
from common import load_strictly, randomise, read_checkpoint  # noqa: E402
from torchvision_net import build  # noqa: E402


class SameConv(nn.Conv2d):
    """TensorFlow's "same" padding, worked out from the input at hand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads = []
        for size, kernel, stride in zip(reversed(x.shape[2:]), reversed(self.kernel_size), reversed(self.stride)):
            need = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [need // 2, need - need // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class MbConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int):
        super().__init__()
        inner = inputs * expansion
        if expansion > 1:
            self._expand_conv = SameConv(inputs, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=1e-3)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self._project_conv = SameConv(inner, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Attribute names are the keys of the published weights; BN is not folded, unlike in the converter."""

    def __init__(self):
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, inputs = [], 32
        for expansion, outputs, count, stride, kernel in [
            (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
        ]:  # fmt: skip
            for index in range(count):
                blocks.append(MbConv(inputs, outputs, expansion, kernel, stride if index == 0 else 1))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return self._fc(F.relu6(self._bn1(self._conv_head(x))).mean((2, 3)))


class FromOnnx(nn.Module):
    """For networks that exist as ONNX only (`fr_feature`): one module call per node, as eager PyTorch would do it."""

    def __init__(self, path: Path):
        super().__init__()
        self.net = OnnxNet(path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[self.net.output_names[0]]


def resnet50(_models: Path | None, _pth: Path | None) -> nn.Module:
    model = build("resnet50", 224)
    randomise(model, 1, 3, 224)
    return model


def torchvision_net(name: str) -> Callable[[Path | None, Path | None], nn.Module]:
    """A network of torchvision (or ViT-Tiny) with random weights, for timing."""

    def make(_models: Path | None, _pth: Path | None) -> nn.Module:
        model = build(name, 224)
        randomise(model, 1, 3, 224, images=2)
        return model

    return make


def iresnet50(_models: Path | None, _pth: Path | None) -> nn.Module:
    model = IResNet(UNITS[50])
    randomise(model, 1, 3, 112)
    return model


def efficientnet_lite0(_models: Path | None, pth: Path | None) -> nn.Module:
    model = EfficientNetLite0()
    if pth:
        load_strictly(model, read_checkpoint(pth), str(pth))
    else:
        randomise(model, 1, 3, 224)  # as good for timing
    return model


def fr_feature(models: Path | None, _pth: Path | None) -> nn.Module:
    if not models or not (models / "fr_feature.onnx").is_file():
        sys.exit("error: fr_feature exists as ONNX only; name the folder of fr_feature.onnx with --models")
    return FromOnnx(models / "fr_feature.onnx")


# name: (build, side of the input)
MODULES = {"fr_feature": (fr_feature, 112), "resnet50": (resnet50, 224), "iresnet50": (iresnet50, 112), "efficientnet_lite0": (efficientnet_lite0, 224)}
MODULES |= {name: (torchvision_net(name), 224) for name in ("vgg19", "convnext_tiny", "vit_tiny")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="folder of resnet50.onnx, iresnet50.onnx (both seed 1) and efficientnet_lite0.onnx")
    parser.add_argument("--pth", type=Path, required=True, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest relative L2 accepted (default: 1e-5)")
    given = parser.parse_args()
    worst = 0.0
    print("module against its ONNX file, f64      output   input gradient")
    for name in ("efficientnet_lite0", "resnet50", "iresnet50"):
        make, side = MODULES[name]
        # A batch of two: a graph that mixes rows would show.
        x = torch.from_numpy(noise(2 * 3 * side * side, INPUT).reshape(2, 3, side, side)).double()
        found = []
        # The exporter folds BN in f32, which moves every ReLU input by its rounding; in ResNet-50 a few then change
        # sides and the gradient jumps by 1e-2. Smooth in both, ReLU hides nothing else.
        smooth = mock.patch.object(F, "relu", lambda x, inplace=False: F.softplus(x, beta=4))
        for model in (make(given.models, given.pth).eval(), FromOnnx(given.models / f"{name}.onnx")):
            with smooth:
                leaf = x.clone().requires_grad_()
                output = model.double().requires_grad_(False)(leaf)
                cotangent = torch.from_numpy(noise(output.numel(), COTANGENT).reshape(tuple(output.shape))).double()
                found.append((output.detach(), torch.autograd.grad((cotangent * output).sum(), leaf)[0]))
        distances = [float((a - b).norm() / b.norm()) for a, b in zip(*found)]
        worst = max(worst, *distances)
        print(f"{name:<34} {distances[0]:10.1e} {distances[1]:16.1e}", flush=True)
    return 0 if worst <= given.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
