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

import onnx
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


def mobilenet_v3() -> nn.Module:
    from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3

    rows = [  # the small network's stages: kernel, expanded, out, squeeze-excite, activation, stride
        (3, 16, 16, True, "RE", 2), (3, 72, 24, False, "RE", 2), (3, 88, 24, False, "RE", 1), (5, 96, 40, True, "HS", 2),
        (5, 240, 40, True, "HS", 1), (5, 120, 48, True, "HS", 1), (5, 288, 96, True, "HS", 2), (5, 576, 96, True, "HS", 1),
    ]  # fmt: skip
    width, inputs, settings = 0.2, 16, []
    for kernel, expanded, outputs, squeeze, activation, stride in rows:
        settings.append(InvertedResidualConfig(inputs, kernel, expanded, outputs, squeeze, activation, stride, 1, width))
        inputs = outputs
    return MobileNetV3(settings, last_channel=50, num_classes=40)


def efficientnet() -> nn.Module:
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    width = 0.15
    rows = [(1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 40, 2), (6, 3, 2, 40, 80, 2), (6, 5, 1, 80, 112, 1), (6, 5, 2, 112, 192, 2)]
    return EfficientNet([MBConvConfig(*row, width, 1.0) for row in rows], dropout=0.2, num_classes=40, last_channel=70)


def squeezenet() -> nn.Module:
    from torchvision.models.squeezenet import Fire

    return nn.Sequential(
        nn.Conv2d(3, 10, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(10, 5, 9, 9), Fire(18, 5, 9, 9),
        nn.MaxPool2d(3, 2, ceil_mode=True), Fire(18, 7, 13, 13), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(26, 9, 17, 17),
        nn.Dropout(), nn.Conv2d(34, 40, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def vgg() -> nn.Module:
    layers, inputs = [], 3
    for width, count in ((6, 2), (9, 2), (13, 4), (18, 4), (18, 4)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(72, 50), nn.ReLU(), nn.Dropout(), nn.Linear(50, 40))


def swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer(patch_size=[4, 4], embed_dim=12, depths=[2, 2], num_heads=[2, 3], window_size=[4, 4], num_classes=40)


def branch() -> nn.Module:
    from odd_nets import BranchNet

    return BranchNet(16, 40)


def unet() -> nn.Module:
    from odd_nets import UNet

    return UNet(3, (5, 7, 10, 13), 20)


def nhwc(path: Path) -> None:
    from odd_nets import write_nhwc

    write_nhwc(path, size=64, widths=(9, 14, 21, 30), classes=40, seed=SEED)


# Graphs that no exporter writes.
WRITTEN = {"nhwc_slim": nhwc}
# name: (build, side of the input, output's name)
SLIM = {
    "resnet50_slim": (SlimResNet50, 64, "logits"),
    "iresnet50_slim": (iresnet50, 56, "embedding"),
    "mobilenet_v2_slim": (mobilenet_v2, 64, "logits"),
    "convnext_slim": (convnext, 64, "logits"),
    "vit_slim": (vit, 64, "logits"),
    "densenet_slim": (densenet, 64, "logits"),
    "mobilenet_v3_slim": (mobilenet_v3, 64, "logits"),
    "efficientnet_slim": (efficientnet, 64, "logits"),
    "squeezenet_slim": (squeezenet, 64, "logits"),
    "vgg_slim": (vgg, 64, "logits"),
    "swin_slim": (swin, 32, "logits"),
    "branch_slim": (branch, 64, "logits"),
    "unet_slim": (unet, 32, "logits"),
}
# By PyTorch's newer exporter, which folds what is constant: the older one writes out how Swin's masks are made.
MODERN = {"swin_slim"}
# Written with a fixed batch of one: their exports lose their shapes otherwise.
ALONE = {"swin_slim", "unet_slim"}


def build(name: str) -> nn.Module:
    build_one, size, _ = SLIM[name]
    torch.manual_seed(SEED)  # for constructors that draw weights which `randomise` leaves alone
    model = build_one()
    randomise(model, SEED, 3, size, images=64)
    return model


def strip(path: Path) -> None:
    """Takes out where in the Python sources each node came from, most of a small file."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    onnx.save(model, str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(SLIM)} (default: all)")
    parser.add_argument("--out", type=Path, default=NETS, help="folder to write to (default: tests/golden/nets)")
    given = parser.parse_args()
    for name in given.names or [*SLIM, *WRITTEN]:
        path = given.out / f"{name}.onnx"
        if name in WRITTEN:
            WRITTEN[name](path)
        elif name in SLIM:
            _, size, output = SLIM[name]
            modern = {"opset": 18, "exporter": "dynamo"} if name in MODERN else {}
            export(build(name), path, shape=(3, size, size), batch=1 if name in ALONE else None, output=output, **modern)
            if modern:
                strip(path)
        else:
            sys.exit(f"error: no slim network is called '{name}'; there are {', '.join([*SLIM, *WRITTEN])}")
        print(f"{sha256(path)}  {path.stat().st_size / 1000:6.0f} kB  {path.name}")


if __name__ == "__main__":
    main()
