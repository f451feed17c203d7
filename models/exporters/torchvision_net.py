"""Exports a torchvision classifier (or a ViT-Tiny) to ONNX.

    python torchvision_net.py resnet50 --weights resnet50-11ad3fa6.pth resnet50.onnx
    python torchvision_net.py resnet50 --weights random --seed 1 --batch 1 resnet50_b1.onnx

The network is exported bare: it expects RGB in [0, 1], normalised with mean (.485, .456, .406) and
std (.229, .224, .225), and gives logits. Layer names depend on the exporter; the TorchScript one (the default) keeps
the module path (`/layer4/layer4.2/relu_2/Relu_output_0`), which is what recipes and papers refer to.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
import torchvision

from common import Refused, export, load_strictly, randomise, read_checkpoint, report, run


def build(name: str, size: int) -> torch.nn.Module:
    if name == "vit_tiny":
        # torchvision has the class but no constructor of this size.
        return torchvision.models.VisionTransformer(
            image_size=size, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768
        )
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known + ["vit_tiny"], 3)
        raise Refused(f"torchvision has no classifier '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    options = {"weights": None}
    if name.startswith("vit_"):
        options["image_size"] = size
    if name in ("inception_v3", "googlenet"):
        options.update(init_weights=False)  # ours follow; torchvision's are slow
    return torchvision.models.get_model(name, **options)


def batch_size(text: str) -> int | None:
    if text == "dynamic":
        return None
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither 'dynamic' nor a positive number")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="torchvision constructor such as resnet50, vgg19, convnext_tiny; or vit_tiny")
    parser.add_argument("out", type=Path, help="the ONNX file to write")
    parser.add_argument("--weights", default="random", help="'random', or a state dict saved by PyTorch (default: random)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random weights (default: 1)")
    parser.add_argument("--opset", type=int, default=17, help="ONNX opset (default: 17)")
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript", help="which PyTorch exporter (default: torchscript)")
    parser.add_argument("--batch", type=batch_size, default=None, metavar="dynamic|N", help="open batch dimension, or a fixed one (default: dynamic)")
    parser.add_argument("--size", type=int, default=224, help="side of the input picture (default: 224)")
    given = parser.parse_args()
    if given.exporter == "dynamo" and given.opset < 18:
        raise Refused("the dynamo exporter writes opset 18 and later; add --opset 18")

    model = build(given.name, given.size)
    if given.weights == "random":
        randomise(model, given.seed, 3, given.size)
        origin = f"random weights, seed {given.seed}"
    else:
        state = read_checkpoint(Path(given.weights))
        state = state.get("state_dict", state)
        if given.name.startswith("densenet"):
            # The published DenseNet files still use names of a time when module names could hold dots.
            state = {re.sub(r"(norm|relu|conv)\.([12])\.", r"\1\2.", k): v for k, v in state.items()}
        load_strictly(model, state, given.weights)
        origin = given.weights
    export(model, given.out, shape=(3, given.size, given.size), batch=given.batch, opset=given.opset, exporter=given.exporter, output="logits")
    report(given.out, f"[{given.batch or 'N'},3,{given.size},{given.size}] RGB in [0,1], minus (.485,.456,.406), over (.229,.224,.225); {origin}")


if __name__ == "__main__":
    run(main)
