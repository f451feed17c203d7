"""How far PyTorch's own bfloat16 gradients lie from its f64 ones, on the networks of `tests/golden/nets`.

    python bf16.py                      # on the CPU
    python bf16.py --device cuda        # and there also TensorFloat-32

The conformance suite holds bf16 backends to a multiple of these figures: a gradient that PyTorch itself cannot compute in 8 bits cannot be asked of another.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch

from formula import COTANGENT, INPUT, noise
from onnx_torch import OnnxNet

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def answer(file: Path, x: np.ndarray, kind: torch.dtype, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Output, and the gradient of sum(cotangent * output), which is summed in f32 or better."""
    net = OnnxNet(file).to(kind).to(device)
    given = torch.from_numpy(x).to(kind).to(device).requires_grad_()
    output = net(given)[net.output_names[0]]
    wide = output if kind == torch.float64 else output.float()
    cotangent = torch.from_numpy(noise(wide.numel(), COTANGENT).reshape(tuple(wide.shape))).to(wide.dtype).to(device)
    (gradient,) = torch.autograd.grad((cotangent * wide).sum(), given)
    return output.detach().double().cpu().numpy(), gradient.double().cpu().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the coarse numbers are computed (default: cpu)")
    device = parser.parse_args().device
    warnings.simplefilter("ignore")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    for file in sorted((GOLDEN / "nets").glob("*.onnx")):
        facts = json.loads((GOLDEN / file.stem / "golden.json").read_text())
        x = noise(int(np.prod(facts["input_shape"])), INPUT, facts["input_start"]).reshape(facts["input_shape"])
        fine = answer(file, x, torch.float64, "cpu")
        line = f"{file.stem:<20}"
        for name, kind in [("bf16", torch.bfloat16)] + ([("tf32", torch.float32)] if device == "cuda" else []):
            forward, gradient = (np.linalg.norm(c - f) / np.linalg.norm(f) for c, f in zip(answer(file, x, kind, device), fine))
            line += f"  {name}: forward {forward:.1e}  gradient {gradient:.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
