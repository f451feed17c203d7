"""Makes the golden gradients of `tests/golden`, so that the Rust tests need no PyTorch.

    python gradients.py --models /path/to/onnx          # all networks
    python gradients.py --models /path/to/onnx resnet50 fr_feature

For each network the input and the cotangent come from the formula in `formula.py`; the golden is the output and
d(sum(cotangent * output)) / d(input), computed by PyTorch's autograd in f64 on the weights of the ONNX file and
rounded to f32. The same in f32 tells how far apart two correct implementations may lie: a ReLU whose input is within
rounding of zero takes the other side, and its whole path with it.

What is written, and how Rust reads it: `tests/golden/README.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from formula import COTANGENT, INPUT, noise
from onnx_torch import OnnxNet, check

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
sys.path.insert(0, str(HERE.parents[1] / "models" / "exporters"))
from common import sha256  # noqa: E402

HEAD, SAMPLES = 64, 2048
# Where the formula starts counting, for inputs on which few ReLUs of the network happen to sit on their kink.
START = {"efficientnet_lite0": 5_000_015, "fr_expression": 8_000_024}
# name: (folder: None = tests/golden/nets, tap = a layer inside, block = side of the averaged blocks, unit = input in [0, 1])
NETS = {
    "resnet50_slim": (None, "/layer3/layer3.5/relu_2/Relu_output_0", 8, False),
    "iresnet50_slim": (None, "/body/body.20/Add_output_0", 7, False),
    "mobilenet_v2_slim": (None, "/features/features.13/Add_output_0", 8, False),
    "convnext_slim": (None, "/features/features.5/features.5.2/Add_output_0", 8, False),
    "vit_slim": (None, "/encoder/layers/encoder_layer_1/Add_1_output_0", 8, False),
    "densenet_slim": (None, "/features/transition2/conv/Conv_output_0", 8, False),
    "mobilenet_v3_slim": (None, "/features/features.5/Add_output_0", 8, False),
    "efficientnet_slim": (None, "/features/features.4/features.4.1/Add_output_0", 8, False),
    "squeezenet_slim": (None, "/6/Concat_output_0", 8, False),
    "vgg_slim": (None, "/31/Relu_output_0", 8, False),
    "swin_slim": (None, "add_6", 8, False),
    "branch_slim": (None, "/Concat_output_0", 8, False),
    "unet_slim": (None, "/join3/join3.2/Mul_output_0", 8, False),
    # Channels last: no blocks of pixels.
    "nhwc_slim": (None, "block2/sum", None, False),
    "fr_feature": ("models", None, 7, False),
    "fr_expression": ("models", None, 7, True),
    "efficientnet_lite0": ("models", "head", 7, False),
    "resnet50": ("models", "/layer4/layer4.2/relu_2/Relu_output_0", 7, False),
    "iresnet50": ("models", "/body/body.23/Add_output_0", 7, False),
}


def sample(values: np.ndarray) -> np.ndarray:
    """All values if there are at most 4096, else 2048 of them, at j * n / 2048 + j mod 2 (whole numbers).

    The alternating 1 keeps an even stride from seeing only even columns.
    """
    flat = values.reshape(-1)
    if flat.size <= 2 * SAMPLES:
        return flat
    j = np.arange(SAMPLES)
    return flat[j * flat.size // SAMPLES + j % 2]


def blocks(gradient: np.ndarray, side: int) -> np.ndarray:
    """Means over side x side pixels: unlike samples, they see every pixel."""
    n, c, h, w = gradient.shape
    return gradient.reshape(n, c, h // side, side, w // side, side).mean((3, 5))


def pull_back(net: OnnxNet, x: np.ndarray, tap: str | None, double: bool) -> dict[str, np.ndarray]:
    net = net.double() if double else net.float()
    given = torch.from_numpy(x).to(torch.float64 if double else torch.float32).requires_grad_()
    name = net.output_names[0]
    values = net(given, (tap,) if tap else ())
    output = values[name]
    cotangent = torch.from_numpy(noise(output.numel(), COTANGENT).reshape(tuple(output.shape))).to(output.dtype)
    wrt = [given] + ([values[tap]] if tap else [])
    gradients = torch.autograd.grad((cotangent * output).sum(), wrt)
    result = {"output": output.detach().numpy(), "input_gradient": gradients[0].numpy()}
    if tap:
        result["layer"] = values[tap].detach().numpy()
        result["layer_gradient"] = gradients[1].numpy()
    return result


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


def make(name: str, models: Path | None, out: Path) -> None:
    folder, tap, side, unit = NETS[name]
    path = (GOLDEN / "nets" if folder is None else models) / f"{name}.onnx"
    net = OnnxNet(path)
    x = noise(int(np.prod(net.input_shape)), INPUT, START.get(name, 0)).reshape(net.input_shape)
    if unit:
        x = (x + np.float32(1)) / np.float32(2)  # exact: still a 24-bit integer over a power of two
    runtime = check(net, x)
    # PyTorch's own convolutions add up in another order than oneDNN's: two samples of what correct f32 code may give.
    singles = [pull_back(net, x, tap, double=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the switch itself warns about hardware that is not there
        with torch.backends.mkldnn.flags(enabled=False):
            singles.append(pull_back(net, x, tap, double=False))
    double = pull_back(net, x, tap, double=True)
    apart = {key: max(relative(single[key], double[key]) for single in singles) for key in double}

    here = out / name
    here.mkdir(parents=True, exist_ok=True)
    for old in (*here.glob("*.npy"), *here.glob("*.json")):
        old.unlink()
    f32 = {key: value.astype(np.float32) for key, value in double.items()}
    np.save(here / "output_head.npy", f32["output"].reshape(-1)[:HEAD])
    np.save(here / "input_gradient_sample.npy", sample(f32["input_gradient"]))
    if side:
        np.save(here / "input_gradient_blocks.npy", blocks(double["input_gradient"], side).astype(np.float32))
    if tap:
        np.save(here / "layer_sample.npy", sample(f32["layer"]))
        np.save(here / "layer_gradient_sample.npy", sample(f32["layer_gradient"]))
    facts = {
        "model": f"{name}.onnx",
        "model_sha256": sha256(path),
        "input_name": net.input_name,
        "input_shape": list(x.shape),
        "input_start": START.get(name, 0),
        "input_in_unit_range": unit,
        "output_name": net.output_names[0],
        "output_shape": list(double["output"].shape),
        "block_side": side,
        "layer_name": tap,
        "layer_shape": list(double["layer"].shape) if tap else None,
        "l2": {key: float(np.linalg.norm(value)) for key, value in double.items()},
        "f32_against_f64": apart,
        "onnxruntime_forward": runtime,
    }
    (here / "golden.json").write_text(json.dumps(facts, indent=2) + "\n")
    size = sum(f.stat().st_size for f in here.iterdir())
    cells = [f"{apart[k]:.1e}" if k in apart else "" for k in ("output", "input_gradient", "layer", "layer_gradient")]
    norms = [f"{facts['l2'][k]:.4g}" for k in ("output", "input_gradient")]
    print(f"| {name} | {' | '.join(norms)} | {' | '.join(cells)} | {runtime:.1e} | {size / 1000:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(NETS)} (default: all)")
    parser.add_argument("--models", type=Path, help="folder of the full networks' ONNX files; without it only the slim ones are made")
    parser.add_argument("--out", type=Path, default=GOLDEN, help="folder to write to (default: tests/golden)")
    given = parser.parse_args()
    names = given.names or [n for n, spec in NETS.items() if spec[0] is None or given.models]
    for name in names:
        if name not in NETS:
            sys.exit(f"error: no golden is called '{name}'; there are {', '.join(NETS)}")
        if NETS[name][0] and not (given.models and (given.models / f"{name}.onnx").is_file()):
            sys.exit(f"error: {name}.onnx is not in the folder given by --models")
    print("| network | output L2 | input gradient L2 | output | input gradient | layer | layer gradient | forward, onnxruntime | kB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        make(name, given.models, given.out)


if __name__ == "__main__":
    main()
