"""Forty small architectures of timm with random weights, put to fame-cli: value and input gradient, or a clear refusal.

    python timm_nets.py FAME_CLI [--only REGEX] [--dynamo] [--jobs N] [--backend SPEC] [--each]

The witness is PyTorch's autograd in f64 on the module that was exported; onnxruntime must agree with it on the value,
or the exporter is at fault and the network is not counted. Each network has ten classes and the smallest picture that
its architecture takes. Needs timm and torchvision beside `models/exporters/requirements.txt`.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import re
import sys
import tempfile
import warnings
import zlib
from typing import Callable

import numpy as np
import onnx
import onnxruntime
import timm
import torch

from ask_fame import Problem, half_squared_distance, judge, normalised, settled, table, target_near
from onnx_torch import OnnxNet

# Architecture: side of the picture. One of each family, so that every kind of block is there once.
NETS = {
    "resnet10t": 64, "seresnext26ts": 64, "skresnet18": 64, "res2net50_14w_8s": 64, "resnest14d": 64,
    "regnety_002": 64, "densenet121": 64, "dla46_c": 64, "darknet17": 64, "repvgg_a0": 64,
    "mobilenetv2_035": 64, "mobilenetv3_small_050": 64, "mobilenetv4_conv_small_035": 64, "efficientnet_b0": 64, "tinynet_e": 64,
    "mixnet_s": 64, "ghostnet_050": 64, "lcnet_035": 64, "rexnet_100": 64, "hrnet_w18_small": 64,
    "nf_regnet_b0": 64, "ese_vovnet19b_dw": 64, "mobileone_s0": 64, "fastvit_t8": 64, "convnext_atto": 64,
    "convnextv2_atto": 64, "edgenext_xx_small": 64, "mobilevit_xxs": 64, "poolformerv2_s12": 64, "resmlp_12_224": 224,
    "gmlp_ti16_224": 224, "vit_tiny_patch16_224": 64, "cait_xxs24_224": 64, "swin_tiny_patch4_window7_224": 64, "levit_128s": 224,
    "pit_ti_224": 224, "xcit_nano_12_p16_224": 64, "pvt_v2_b0": 64, "efficientvit_b0": 64, "sequencer2d_s": 224,
}  # fmt: skip
OPSET = 17

OFF_TARGET = 0.1  # see `target_near`
VALUE = 2e-3  # of ½‖feat − t‖²: a logit that is off by 1e-4, as deep f32 networks are, is 2e-3 of it
GRADIENT = 2e-2  # f32 against f64: ReLUs within rounding of zero take the other side, up to 1e-2 of skresnet18
SLOPE_STEP = 1e-7  # 1e-5 crosses kinks enough to be 3 % off (densenet121); f64 leaves nine digits at 1e-7
SLOPE = 1e-2  # differences in f64 cross few kinks; a wrong gradient is off by its own size
EXPORTED = 1e-3  # onnxruntime's f32 logits against PyTorch's f64


def randomise(net: torch.nn.Module, side: int, seed: int) -> None:
    """No parameter stays at its start of zero or nearly, which would hide whole branches (layer scale, last norms);
    batch statistics are those of noise, or activations would explode."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0

    def uniform(t: torch.Tensor, low: float, high: float) -> None:
        t.copy_(torch.rand(t.shape, generator=generator) * (high - low) + low)

    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.dim() <= 1 and not name.endswith("bias"):
                uniform(p, 0.5, 1.5)
            elif p.dim() <= 1 or float(p.abs().max()) < 1e-3:
                uniform(p, -0.2, 0.2)
        net.train()(torch.randn(4, 3, side, side, generator=generator))
        net.eval()


def is_slope(gradient: np.ndarray, loss: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, rng: np.random.Generator) -> bool:
    """Whether `gradient` is the slope of `loss` in f64 along a random direction."""
    direction = rng.standard_normal(gradient.shape)
    step = SLOPE_STEP * torch.from_numpy(direction)[None]
    with torch.no_grad():
        slope = float(loss(x + step) - loss(x - step)) / (2 * SLOPE_STEP)
    scale = float(np.linalg.norm(gradient))  # of a typical slope along a direction of normal numbers
    return abs(slope - float((gradient * direction).sum())) < SLOPE * scale


def exported(net: torch.nn.Module, x: torch.Tensor, dynamo: bool) -> onnx.ModelProto:
    file = io.BytesIO()
    names = {"input_names": ["picture"], "output_names": ["feat"]}
    if dynamo:
        torch.onnx.export(net, (x,), file, dynamo=True, external_data=False, verbose=False, **names)
    else:
        torch.onnx.export(net, (x,), file, dynamo=False, opset_version=OPSET, **names)
    return onnx.load_from_string(file.getvalue())


def problem_of(name: str, dynamo: bool) -> Problem | str:
    seed = zlib.crc32(name.encode())
    rng = np.random.default_rng(seed)
    side = NETS[name]
    torch.manual_seed(seed)
    size = {"img_size": side} if re.search("224", name) and side != 224 else {}
    net = timm.create_model(name, num_classes=10, **size)
    randomise(net, side, seed)
    picture = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    x = torch.from_numpy(normalised(picture)[None])
    model = exported(net, x, dynamo)
    at = x.double().requires_grad_(True)
    logits = net.double()(at)
    clean = logits.detach().numpy().reshape(-1)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    off = np.linalg.norm(session.run(None, {"picture": x.numpy()})[0].reshape(-1) - clean) / np.linalg.norm(clean)
    if not off < EXPORTED:
        return f"onnxruntime's logits of the exported file are {off:.1g} off PyTorch's"
    target = target_near(clean, OFF_TARGET, rng)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((logits.reshape(-1) - torch.from_numpy(target).double()) ** 2).sum()

    loss(logits).backward()
    right = at.grad[0].numpy()
    if not is_slope(right, lambda x: loss(net(x)), x.double(), rng):
        # LeViT's autograd is not: an activation works in place. The exported graph's is.
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            onnx.save(model, file.name)
            graph = OnnxNet(file.name).double()
        at = x.double().requires_grad_(True)
        loss(graph(at)["feat"]).backward()
        right = at.grad[0].numpy()
        if not is_slope(right, lambda x: loss(net(x)), x.double(), rng):
            return "neither autograd of PyTorch nor of the exported graph is its slope"
    names = {n.op_type for n in model.graph.node} | {n.name for n in model.graph.node if n.name}
    return Problem(
        name, name, model, picture, target, half_squared_distance(clean, target), VALUE,
        lambda raw: float(np.linalg.norm(raw - right) / np.linalg.norm(right)), GRADIENT, names,
    )  # fmt: skip


def ask(name: str, dynamo: bool, fame: str, backend: str) -> tuple[Problem | None, str, str]:
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem = problem_of(name, dynamo)
        except Exception as e:  # noqa: BLE001: PyTorch's exporter raises many kinds
            problem = f"PyTorch cannot export it: {str(e).splitlines()[0][:150]}"
    if isinstance(problem, str):
        return None, "not run", problem
    verdict, told = judge(problem, fame, backend)
    problem.gradient_off = problem.model = None  # too much to pass between processes
    return problem, verdict, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fame_cli")
    parser.add_argument("--only", default="", metavar="REGEX", help="architectures whose name matches")
    parser.add_argument("--dynamo", action="store_true", help="PyTorch's newer exporter (needs onnxscript)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--backend", default="Tract(threads: 1)", metavar="SPEC")
    parser.add_argument("--each", action="store_true", help="print each network as it ends")
    args = parser.parse_args()
    chosen = [name for name in NETS if re.search(args.only, name)]
    results, left = [], []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        waiting = [pool.apply_async(ask, (n, args.dynamo, os.path.abspath(args.fame_cli), args.backend)) for n in chosen]
        for name, answer in zip(chosen, waiting):
            problem, verdict, told = answer.get()
            if args.each:
                print(f"{verdict:<8} {name}: {told}", flush=True)
            if problem is None:
                left.append(f"{name}: {told}")
            else:
                results.append((problem, verdict, told))
    print(table(results))
    print("\nNot run:", *left, sep="\n")
    sys.exit(not settled(results))


if __name__ == "__main__":
    main()
