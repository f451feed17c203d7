"""Trains fame's own small classifier of drawn shapes, and writes it as ONNX.

    fame-cli synth /tmp/train --layout image-list --count 4000 --seed 1
    fame-cli synth /tmp/valid --layout image-list --count 600 --seed 2
    python shapes.py /tmp/train /tmp/valid ../shapes.onnx

A few minutes on two cores; needs the packages of requirements.txt. The network is small on purpose: five 3x3 convolutions that
see 27 pixels of 64, global average pooling, one linear layer. So what it looks at lies where the shape is, and an explanation
that points elsewhere is wrong.

The same versions on the same kind of processor give the same weights; others give a network of the same accuracy.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from common import Refused, run, sha256

CLASSES = ["disc", "square", "triangle", "ring", "cross", "crescent"]
SIZE = 64
WIDTHS = [(3, 16, 2), (16, 24, 1), (24, 32, 2), (32, 48, 1), (48, 48, 1)]


def load(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures as bytes [N, 3, 64, 64], cut from the middle as the manifest's prepare steps do, and labels."""
    try:
        with open(folder / "list.csv", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise Refused(f"there is no {folder / 'list.csv'}: write it with fame-cli synth --layout image-list") from None
    pictures = torch.empty(len(rows), 3, SIZE, SIZE, dtype=torch.uint8)
    for n, row in enumerate(rows):
        with Image.open(folder / row["path"]) as image:
            if image.height != SIZE:
                raise Refused(f"{row['path']} is {image.height} pixels high, not {SIZE}")
            left = round((image.width - SIZE) / 2)
            pixels = numpy.array(image.convert("RGB"))[:, left : left + SIZE]
        pictures[n] = torch.from_numpy(pixels).permute(2, 0, 1)
    return pictures, torch.tensor([int(row["label"]) for row in rows])


def network() -> nn.Sequential:
    blocks: list[nn.Module] = []
    for inner, outer, stride in WIDTHS:
        blocks += [nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1][1], len(CLASSES)))


def as_input(pictures: torch.Tensor) -> torch.Tensor:
    return (pictures.float() / 255 - 0.5) / 0.25


@torch.no_grad()
def accuracy(model: nn.Module, pictures: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    right = sum(int((model(as_input(p)).argmax(1) == l).sum()) for p, l in zip(pictures.split(200), labels.split(200)))
    return right / len(labels)


def train(pictures: torch.Tensor, labels: torch.Tensor, valid: tuple[torch.Tensor, torch.Tensor], epochs: int) -> nn.Module:
    torch.manual_seed(0)
    model = network()
    batch = 32
    steps = epochs * (len(labels) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(labels))
        for n in range(len(labels) // batch):
            rows = order[n * batch : (n + 1) * batch]
            inputs = as_input(pictures[rows])
            # A shape stays what it is in a mirror.
            inputs = inputs.flip(3) if torch.rand(1) < 0.5 else inputs
            loss = loss_of(model(inputs), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        few = accuracy(model, valid[0][:120], valid[1][:120])
        print(f"epoch {epoch + 1}: accuracy {few:.3f} on 120 pictures of the validation set", file=sys.stderr, flush=True)
    return model.eval()


def export(model: nn.Sequential, path: Path) -> None:
    """Batch normalisation folded into the convolutions, the batch dimension open."""
    nodes, weights, last = [], [], "input"
    layers = list(model)
    for n in range(len(WIDTHS)):
        conv, norm = layers[3 * n], layers[3 * n + 1]
        scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        kernel = (conv.weight * scale[:, None, None, None]).detach().numpy()
        bias = (norm.bias - norm.running_mean * scale).detach().numpy()
        weights += [numpy_helper.from_array(kernel, f"kernel{n + 1}"), numpy_helper.from_array(bias, f"bias{n + 1}")]
        stride = WIDTHS[n][2]
        nodes.append(
            helper.make_node(
                "Conv", [last, f"kernel{n + 1}", f"bias{n + 1}"], [f"conv{n + 1}"], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2
            )
        )
        last = "feature_map" if n + 1 == len(WIDTHS) else f"relu{n + 1}"
        nodes.append(helper.make_node("Relu", [f"conv{n + 1}"], [last]))
    linear = layers[-1]
    weights += [
        numpy_helper.from_array(linear.weight.detach().numpy(), "weight"),
        numpy_helper.from_array(linear.bias.detach().numpy(), "offset"),
    ]
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"], axis=1),
        helper.make_node("Gemm", ["embedding", "weight", "offset"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "shapes",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(CLASSES)])],
        weights,
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="fame shapes.py")
    onnx.checker.check_model(onnx_model, full_check=True)
    onnx.save(onnx_model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="folder written by fame-cli synth --layout image-list")
    parser.add_argument("valid", type=Path, help="the same with another seed")
    parser.add_argument("out", type=Path, help="the ONNX file to write")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    valid = load(options.valid)
    model = train(*load(options.train), valid, options.epochs)
    export(model, options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes, sha256 {sha256(options.out)}")
    print(f"validation accuracy {accuracy(model, *valid):.4f} on {len(valid[1])} pictures; input RGB (px - 127.5) / 63.75")


run(main)
