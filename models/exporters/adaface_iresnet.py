"""Exports an AdaFace IResNet (face recognition) to ONNX.

    python adaface_iresnet.py --depth 50 --checkpoint adaface_ir50_ms1mv2.ckpt iresnet50.onnx
    python adaface_iresnet.py --depth 50 --random 1 --batch 1 iresnet50_b1.onnx

Input: [N, 3, 112, 112], **BGR**, pixels in [0, 1] and then (x - 0.5) / 0.5, face aligned to the ArcFace template.
Output: `embedding` [N, 512], raw, **not** L2-normalised: the norm is part of the loss, so that explanations may hold
it fixed or not. The checkpoint is a Lightning file; of its `state_dict` the keys starting with `model.` are taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from common import Refused, export, load_strictly, randomise, read_checkpoint, report, run
from torchvision_net import batch_size

UNITS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 101: (3, 13, 30, 3)}


class IrBlock(nn.Module):
    """BN, conv, BN, PReLU, strided conv, BN, plus the shortcut; nothing after the sum.

    The attribute names and positions are those that AdaFace checkpoints use as keys.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        if inputs == outputs:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class IResNet(nn.Module):
    """`widths` and `embedding` are those of AdaFace unless a test asks for a slim network."""

    def __init__(self, units, size: int = 112, widths=(64, 128, 256, 512), embedding: int = 512, stem: int = 64):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        blocks, inputs = [], stem
        for width, count in zip(widths, units):
            for index in range(count):
                blocks.append(IrBlock(inputs, width, stride=2 if index == 0 else 1))
                inputs = width
        self.body = nn.Sequential(*blocks)
        side = size
        for _ in widths:
            side = (side + 1) // 2
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(inputs * side * side, embedding),
            nn.BatchNorm1d(embedding, affine=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output_layer(self.body(self.input_layer(x)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the ONNX file to write")
    parser.add_argument("--depth", type=int, choices=sorted(UNITS), required=True, help="100 and 101 name the same network")
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--checkpoint", type=Path, help="Lightning .ckpt of AdaFace")
    weights.add_argument("--random", type=int, metavar="SEED", help="random weights, for tests and timings")
    parser.add_argument("--opset", type=int, default=17, help="ONNX opset (default: 17)")
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript", help="which PyTorch exporter (default: torchscript)")
    parser.add_argument("--batch", type=batch_size, default=None, metavar="dynamic|N", help="open batch dimension, or a fixed one (default: dynamic)")
    given = parser.parse_args()
    if given.exporter == "dynamo" and given.opset < 18:
        raise Refused("the dynamo exporter writes opset 18 and later; add --opset 18")

    model = IResNet(UNITS[given.depth])
    if given.checkpoint is None:
        randomise(model, given.random, 3, 112)
        origin = f"random weights, seed {given.random}"
    else:
        content = read_checkpoint(given.checkpoint)
        if "state_dict" not in content:
            raise Refused(f"{given.checkpoint} has no 'state_dict', so it is no Lightning checkpoint; its keys are {', '.join(map(str, list(content)[:5]))}")
        state = {k.removeprefix("model."): v for k, v in content["state_dict"].items() if k.startswith("model.")}
        if not state:
            raise Refused(f"no key of the 'state_dict' in {given.checkpoint} starts with 'model.'")
        load_strictly(model, state, f"{given.checkpoint} (depth {given.depth})")
        origin = str(given.checkpoint)
    export(model, given.out, shape=(3, 112, 112), batch=given.batch, opset=given.opset, exporter=given.exporter, output="embedding")
    report(given.out, f"[{given.batch or 'N'},3,112,112] BGR in [0,1], then (x-.5)/.5; output raw 512-d; {origin}")


if __name__ == "__main__":
    run(main)
