"""How far PyTorch's own bfloat16 gradients lie from its f64 ones, on the networks of `tests/golden/nets`.

    python bf16.py

The conformance suite holds bf16 backends to a multiple of these figures: a gradient that PyTorch itself cannot compute in 8 bits cannot be asked of another.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch

from formula import COTANGENT, INPUT, noise
from onnx_torch import OnnxNet

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def answer(file: Path, x: np.ndarray, kind: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Output, and the gradient of sum(cotangent * output), which is summed in f32 or better."""
    net = OnnxNet(file).to(kind)
    given = torch.from_numpy(x).to(kind).requires_grad_()
    output = net(given)[net.output_names[0]]
    wide = output if kind == torch.float64 else output.float()
    cotangent = torch.from_numpy(noise(wide.numel(), COTANGENT).reshape(tuple(wide.shape))).to(wide.dtype)
    (gradient,) = torch.autograd.grad((cotangent * wide).sum(), given)
    return output.detach().double().numpy(), gradient.double().numpy()


def main() -> None:
    warnings.simplefilter("ignore")
    for file in sorted((GOLDEN / "nets").glob("*.onnx")):
        facts = json.loads((GOLDEN / file.stem / "golden.json").read_text())
        x = noise(int(np.prod(facts["input_shape"])), INPUT, facts["input_start"]).reshape(facts["input_shape"])
        fine, coarse = answer(file, x, torch.float64), answer(file, x, torch.bfloat16)
        forward, gradient = (np.linalg.norm(c - f) / np.linalg.norm(f) for c, f in zip(coarse, fine))
        print(f"{file.stem:<20} forward {forward:.1e}  gradient {gradient:.2f}", flush=True)


if __name__ == "__main__":
    main()
