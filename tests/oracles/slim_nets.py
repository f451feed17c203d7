"""Builds the slim networks of `tests/golden/nets`: the blocks of the real ones, a few channels wide, weights ours.

    python slim_nets.py                        # writes ../golden/nets/*.onnx

Weights of published networks must not be committed, and random ones at full width are 100 MB. These have every kind of
layer, stride, shortcut and activation of the full network, in the same order and number (transformers: fewer blocks),
so a gradient rule that is wrong for the full one is wrong here too. Widths are odd or not divisible by 8 on purpose:
kernels that work on blocks of channels must cope with the rest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from torchvision.models import DenseNet, MobileNetV2, VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.resnet import Bottleneck
from torchvision.ops import Conv2dNormActivation

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "models" / "exporters"))
from adaface_iresnet import UNITS, IResNet  # noqa: E402
from common import export, randomise, sha256  # noqa: E402

SEED = 20240
NETS = HERE.parent / "golden" / "nets"


class SlimResNet50(nn.Module):
    """torchvision's bottleneck blocks and layer names; only the widths are ours, which its ResNet class fixes."""

    def __init__(self, base: int = 3, stem: int = 6, classes: int = 40):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = stem
        for stage, count in enumerate((3, 4, 6, 3)):
            planes, blocks = base << stage, []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                downsample = None
                if index == 0:
                    downsample = nn.Sequential(nn.Conv2d(inputs, planes * 4, 1, stride, bias=False), nn.BatchNorm2d(planes * 4))
                blocks.append(Bottleneck(inputs, planes, stride, downsample))
                inputs = planes * 4
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def mobilenet_v2() -> nn.Module:
    # The real list of stages; a round_nearest of 4 allows channel counts as small as 4.
    model = MobileNetV2(num_classes=40, width_mult=0.15, round_nearest=4, inverted_residual_setting=[
        [1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1],
    ])  # fmt: skip
    # The class never makes the closing convolution narrower than 1280, three quarters of the whole file.
    inputs = model.features[-1][0].in_channels
    model.features[-1] = Conv2dNormActivation(inputs, 68, kernel_size=1, norm_layer=nn.BatchNorm2d, activation_layer=nn.ReLU6)
    model.classifier[1] = nn.Linear(68, 40)
    return model


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(9, 15, 2), CNBlockConfig(15, 25, 2), CNBlockConfig(25, 34, 3), CNBlockConfig(34, None, 1)], num_classes=40)


def vit() -> nn.Module:
    return VisionTransformer(image_size=64, patch_size=16, num_layers=3, num_heads=3, hidden_dim=30, mlp_dim=50, num_classes=40)


def densenet() -> nn.Module:
    return DenseNet(growth_rate=5, block_config=(3, 4, 6, 4), num_init_features=10, bn_size=2, num_classes=40)


def iresnet50() -> nn.Module:
    return IResNet(UNITS[50], size=56, widths=(4, 6, 10, 16), embedding=48, stem=4)


# name: (build, side of the input, output's name)
SLIM = {
    "resnet50_slim": (SlimResNet50, 64, "logits"),
    "iresnet50_slim": (iresnet50, 56, "embedding"),
    "mobilenet_v2_slim": (mobilenet_v2, 64, "logits"),
    "convnext_slim": (convnext, 64, "logits"),
    "vit_slim": (vit, 64, "logits"),
    "densenet_slim": (densenet, 64, "logits"),
}


def build(name: str) -> nn.Module:
    build_one, size, _ = SLIM[name]
    torch.manual_seed(SEED)  # for constructors that draw weights which `randomise` leaves alone
    model = build_one()
    randomise(model, SEED, 3, size, images=64)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(SLIM)} (default: all)")
    parser.add_argument("--out", type=Path, default=NETS, help="folder to write to (default: tests/golden/nets)")
    given = parser.parse_args()
    for name in given.names or SLIM:
        if name not in SLIM:
            sys.exit(f"error: no slim network is called '{name}'; there are {', '.join(SLIM)}")
        _, size, output = SLIM[name]
        path = given.out / f"{name}.onnx"
        export(build(name), path, shape=(3, size, size), batch=None, output=output)
        print(f"{sha256(path)}  {path.stat().st_size / 1000:6.0f} kB  {path.name}")


if __name__ == "__main__":
    main()
