"""Exports the network zoo: every architecture that fame promises to explain, full-size, with seeded random weights.

    python zoo.py                              # all, to $FAME_ZOO or /work/models-onnx/zoo
    python zoo.py --out DIR swin_tiny unet     # some

Beside each NAME.onnx it writes the golden that `cargo test -p fame-tests --test conformance -- --ignored zoo_table`
compares every backend with: NAME.output.npy (onnxruntime's logits), NAME.gradient.npy (the gradient of
sum(cotangent * logits) by PyTorch autograd in f64 on the weights of the file) and NAME.json (names, and how far apart
two correct programs may lie: PyTorch's own f32 from its f64, and f64 from f64 after the
input moved by 1e-6, the worst of three directions).
Input and cotangent are the formula of tests/oracles/formula.py, so they need no file.

What cannot be exported says so and is left out; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common import export, randomise, sha256

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "oracles"))
from formula import COTANGENT, INPUT, noise  # noqa: E402
from onnx_torch import OnnxNet, check  # noqa: E402

SEED = 1
# How far the f64 input is moved to see whether a kink is near: a few roundings of an f32 of size 1.
NUDGE = 1e-6
# Where the formula starts for each direction tried; the largest effect counts.
NUDGES = (7_000_003, 17_000_003, 27_000_003)


@dataclass
class Entry:
    """One file of the zoo."""

    build: Callable[[], nn.Module] | None
    size: int = 224
    opset: int = 17
    exporter: str = "torchscript"
    output: str = "logits"
    # For graphs that no exporter writes: makes the file itself.
    write: Callable[[Path], None] | None = None


def torchvision(name: str, size: int = 224) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from torchvision_net import build

        return build(name, size)

    return make


def iresnet(depth: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from adaface_iresnet import UNITS, IResNet

        return IResNet(UNITS[depth])

    return make


def timm_net(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        model = timm.create_model(name, pretrained=False)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if key.endswith(("cls_token", "pos_embed", "dist_token")):
                    parameter.normal_(0, 0.2)
        return model

    return make


class TanhGelu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.gelu(x, approximate="tanh")


def with_tanh_gelu(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The network with GELU's tanh approximation in place of every exact one."""

    def replace(module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, nn.GELU):
                setattr(module, name, TanhGelu())
            else:
                replace(child)

    def make() -> nn.Module:
        model = build()
        replace(model)
        return model

    return make


def unet() -> nn.Module:
    from odd_nets import UNet

    return UNet(3, (24, 48, 96, 160), 20)


def lrn_net() -> nn.Module:
    from odd_nets import BranchNet

    return BranchNet(64, 100)


def nhwc(path: Path) -> None:
    from odd_nets import write_nhwc

    write_nhwc(path, size=96, widths=(24, 40, 80, 160), classes=100, seed=SEED)


ZOO: dict[str, Entry] = {
    **{f"resnet{d}": Entry(torchvision(f"resnet{d}")) for d in (18, 34, 50, 101)},
    "resnet18_opset9": Entry(torchvision("resnet18"), opset=9),
    "resnet18_opset11": Entry(torchvision("resnet18"), opset=11),
    "resnet18_opset13": Entry(torchvision("resnet18"), opset=13),
    "resnet18_dynamo21": Entry(torchvision("resnet18"), opset=21, exporter="dynamo"),
    "vgg19": Entry(torchvision("vgg19")),
    "densenet121": Entry(torchvision("densenet121")),
    "mobilenet_v2": Entry(torchvision("mobilenet_v2")),
    "mobilenet_v3_large": Entry(torchvision("mobilenet_v3_large")),
    "mobilenet_v3_opset11": Entry(torchvision("mobilenet_v3_large"), opset=11),
    "mobilenet_v3_dynamo": Entry(torchvision("mobilenet_v3_large"), opset=18, exporter="dynamo"),
    "efficientnet_b0": Entry(torchvision("efficientnet_b0")),
    "efficientnet_b0_dynamo": Entry(torchvision("efficientnet_b0"), opset=18, exporter="dynamo"),
    "inception_v3": Entry(torchvision("inception_v3", 299), size=299),
    "googlenet": Entry(torchvision("googlenet")),
    "branch_lrn": Entry(lrn_net, size=112),
    "squeezenet1_1": Entry(torchvision("squeezenet1_1")),
    "iresnet18": Entry(iresnet(18), size=112, output="embedding"),
    "iresnet50": Entry(iresnet(50), size=112, output="embedding"),
    "iresnet101": Entry(iresnet(101), size=112, output="embedding"),
    "convnext_tiny": Entry(torchvision("convnext_tiny")),
    "convnext_tiny_opset16": Entry(torchvision("convnext_tiny"), opset=16),
    "convnext_tiny_tanh": Entry(with_tanh_gelu(torchvision("convnext_tiny"))),
    "convnext_tiny_dynamo20": Entry(torchvision("convnext_tiny"), opset=20, exporter="dynamo"),
    "vit_tiny": Entry(torchvision("vit_tiny")),
    "vit_tiny_opset14": Entry(torchvision("vit_tiny"), opset=14),
    "vit_tiny_dynamo": Entry(torchvision("vit_tiny"), opset=18, exporter="dynamo"),
    "deit_tiny": Entry(timm_net("deit_tiny_patch16_224")),
    "deit_tiny_distilled": Entry(timm_net("deit_tiny_distilled_patch16_224")),
    "swin_tiny": Entry(torchvision("swin_t")),
    "swin_tiny_dynamo": Entry(torchvision("swin_t"), opset=18, exporter="dynamo"),
    "unet": Entry(unet, size=128),
    "unet_dynamo": Entry(unet, size=128, opset=18, exporter="dynamo"),
    "nhwc": Entry(None, size=96, write=nhwc),
}


def gradient(net: OnnxNet, x: np.ndarray, double: bool) -> tuple[np.ndarray, np.ndarray]:
    """Output and input gradient for the formula's cotangent."""
    kind = torch.float64 if double else torch.float32
    net = net.double() if double else net.float()
    given = torch.from_numpy(x).to(kind).requires_grad_()
    output = net(given)[net.output_names[0]]
    cotangent = torch.from_numpy(noise(output.numel(), COTANGENT).reshape(tuple(output.shape))).to(kind)
    (pulled,) = torch.autograd.grad((cotangent * output).sum(), given)
    return output.detach().numpy(), pulled.numpy()


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b) / max(float(np.linalg.norm(b)), 1e-30))


def golden(path: Path) -> str:
    """Writes what backends are compared with, and gives a line about it."""
    import onnxruntime

    net = OnnxNet(path)
    x = noise(int(np.prod(net.input_shape)), INPUT).reshape(net.input_shape)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    runtime = session.run(net.output_names[:1], {net.input_name: x})[0]
    oracle = check(net, x)
    output, pulled = gradient(net, x, double=True)
    nudges = (NUDGE * noise(x.size, INPUT, start).reshape(x.shape).astype(np.float64) for start in NUDGES)
    nudged = max(relative(gradient(net, x.astype(np.float64) + nudge, double=True)[1], pulled) for nudge in nudges)
    _, single = gradient(net, x, double=False)
    facts = {
        "sha256": sha256(path),
        "input_shape": list(x.shape),
        "output_name": net.output_names[0],
        "output_shape": list(runtime.shape),
        "onnxruntime_against_f64": relative(runtime, output),
        "oracle_against_onnxruntime": oracle,
        "gradient_f32_against_f64": relative(single, pulled),
        "gradient_nudged_against_f64": nudged,
    }
    np.save(path.with_suffix(".output.npy"), runtime.astype(np.float32))
    np.save(path.with_suffix(".gradient.npy"), pulled.astype(np.float32))
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
    norms = f"|logits| {np.linalg.norm(runtime):.3g}  |gradient| {np.linalg.norm(pulled):.3g}"
    return f"{norms}  oracle {oracle:.1e}  f32-f64 {facts['gradient_f32_against_f64']:.1e}  nudged {facts['gradient_nudged_against_f64']:.1e}"


def make(name: str, out: Path, keep: bool) -> str:
    entry, path = ZOO[name], out / f"{name}.onnx"
    out.mkdir(parents=True, exist_ok=True)
    if keep and path.is_file():
        pass
    elif entry.write:
        entry.write(path)
    else:
        torch.manual_seed(SEED)  # for constructors that draw weights which `randomise` leaves alone
        model = entry.build()
        randomise(model, SEED, 3, entry.size, images=4)
        # One row: fame runs row by row, and fixed sizes spare the file its shape arithmetic.
        export(model, path, shape=(3, entry.size, entry.size), batch=1, opset=entry.opset, exporter=entry.exporter, output=entry.output)
    return golden(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(ZOO)} (default: all)")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("FAME_ZOO", "/work/models-onnx/zoo")), help="folder to write to")
    parser.add_argument("--missing", action="store_true", help="only those whose golden is not there yet")
    parser.add_argument("--keep", action="store_true", help="take the ONNX files that are there, and make only their goldens")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in ZOO]
    if unknown:
        sys.exit(f"error: the zoo has no '{unknown[0]}'; there are {', '.join(ZOO)}")
    failed = 0
    for name in given.names or ZOO:
        if given.missing and (given.out / f"{name}.json").is_file():
            continue
        start = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                line = make(name, given.out, given.keep)
        except Exception as problem:  # one network that cannot be exported must not take the others with it
            failed += 1
            line = f"FAILED: {type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"
        print(f"{name:<24} {time.monotonic() - start:5.0f} s  {line}", flush=True)
        gc.collect()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
