"""How far the numbers of fame's convolution kernels are from f64's, and where their walks end.

    python kernel_maps.py --fame ../../target/release/fame-cli --picture face.png NET.onnx …

Each network gets the picture, scaled to its input and normalised by (p − 0.5) / 0.5, and walks down its first output:
steps of 1/255 of pixels, the largest component of the gradient scaled to that, as FAME's. Printed for each engine and
PyTorch in f32:

    gradient    the distance of the gradient from PyTorch's in f64, both scaled to a largest component of 1, ‖a − b‖ / ‖b‖
    100, 500    the Pearson correlation of Σ|x̄ − x| over the channels with that of the same walk by PyTorch in f64

`Own` are fame's kernels, `Tract` the ones before them, `Bf16` fame's with factors of bfloat16. PyTorch computes the file node by node (`onnx_torch.py`).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image

from onnx_torch import OnnxNet

ENGINES = {"Own": "Tract()", "Tract": "Tract(convolutions: Tract)", "Bf16": "Tract(precision: Bf16)"}
STEP = 1 / 255
# Of the one step that tells a gradient: so long that the rounding of the pixels it is added to does not count.
FAR = 10_000.0


def walk(net: OnnxNet, pixels: np.ndarray, steps: int, step: float, kind: torch.dtype) -> np.ndarray:
    """What moved, [3, H, W], after `steps` steps from `pixels` of 0..1."""
    start = torch.tensor(pixels, dtype=kind)[None]
    now = start.clone()
    for _ in range(steps):
        x = now.clone().requires_grad_(True)
        output = net((x - 0.5) / 0.5)[net.output_names[-1]]
        (gradient,) = torch.autograd.grad(output.flatten()[0], x)
        now = now - step * gradient / gradient.abs().max()
    return (now - start)[0].double().numpy()


def by_fame(given: argparse.Namespace, file: Path, folder: Path, engine: str, steps: int, step: float) -> np.ndarray:
    recipe = f"""(model: "{file.stem}.ron", data: Image(file: "picture.png"), prepare: [], backend: {engine}, explain: {{"e": Fame(
        loss: Logit(class: Index(0)), layer: Output, perturbation: Lots(step: {step}, iterations: {steps}))}}, write: [Npy(raw: true)])"""
    (folder / "r.ron").write_text(recipe)
    out = folder / "out"
    command = [given.fame, "run", folder / "r.ron", "--out", out, "--force"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    (raw,) = (out / "items").rglob("*.raw.npy")
    return np.load(raw).astype(np.float64)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(np.abs(a).sum(0).ravel(), np.abs(b).sum(0).ravel())[0, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fame", required=True)
    parser.add_argument("--picture", required=True)
    parser.add_argument("--steps", default="100,500")
    parser.add_argument("nets", nargs="+", type=Path)
    given = parser.parse_args()
    lengths = [int(n) for n in given.steps.split(",")]
    print("network".ljust(20), "engine".ljust(12), "gradient".rjust(10), *(str(n).rjust(11) for n in lengths))
    for file in given.nets:
        shape = [d.dim_value for d in onnx.load(file, load_external_data=False).graph.input[0].type.tensor_type.shape.dim]
        side = shape[-1]
        picture = Image.open(given.picture).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / np.float32(255)
        nets = {kind: OnnxNet(str(file)).to(kind) for kind in (torch.float64, torch.float32)}
        runs = {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            picture.save(folder / "picture.png")
            (folder / file.name).symlink_to(file.resolve())
            manifest = f"(input: (size: (3, {side}, {side}), order: Rgb, mean: 0.5, std: 0.5), ask: (loss: Logit(class: Index(0)), layer: Output))"
            (folder / f"{file.stem}.ron").write_text(manifest)
            for n in [1, *lengths]:
                step = FAR if n == 1 else STEP
                runs["f64", n] = walk(nets[torch.float64], pixels, n, step, torch.float64)
                runs["PyTorch f32", n] = walk(nets[torch.float32], pixels, n, step, torch.float32)
                for label, engine in ENGINES.items():
                    runs[label, n] = by_fame(given, file, folder, engine, n, step)
        for label in [*ENGINES, "PyTorch f32"]:
            first, right = runs[label, 1], runs["f64", 1]
            off = np.linalg.norm(first - right) / np.linalg.norm(right)
            found = (f"{pearson(runs[label, n], runs['f64', n]):.7f}".rjust(11) for n in lengths)
            print(file.stem.ljust(20), label.ljust(12), f"{off:10.1e}", *found, flush=True)


if __name__ == "__main__":
    main()
