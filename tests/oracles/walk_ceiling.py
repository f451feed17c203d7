"""How well a walk of FAME repeats itself: the ceiling of what a shorter one can reach.

    python walk_ceiling.py efficientnet_lite0.onnx /data/imagenet --pictures 8

FILE is EfficientNet-Lite0 as models/exporters/efficientnet_lite0.py writes it; the folder holds pictures and classes.txt (path, WordNet id,
class, separated by tabs). Each picture walks 500 steps of 1/255 down its class's logit three times: as it is, with noise of σ = 10⁻⁶ on its
pixels of 0..1 (a few units in the last place of f32), and with noise of one gray level up or down. Printed after every number of steps: the
Spearman correlation of the finished map (gray, blurred) with the 500-step map of the same walk, with that of the walk from 10⁻⁶ away, and
with the maps that those walks have after as many steps; mean over the pictures and least. Then the same for shorter walks of other kinds.
PyTorch, one thread; nothing of fame.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import rankdata

from onnx_torch import OnnxNet

SIDE, RESIZED = 224, 256
MEAN, STD = 0.49803921569, 0.50196078431
STEP = 1 / 255
READ_AT = (1, 10, 16, 25, 50, 100, 150, 200, 300, 400, 500)
STARTS = ("as it is", "1e-6 away", "1 level away")
# Other walks of few steps: how many, and what differs.
OTHERS = {
    "2/255": (50, {"step": 2 * STEP}),
    "4/255": (25, {"step": 4 * STEP}),
    "4/255, longer": (50, {"step": 4 * STEP}),
    "8/255": (16, {"step": 8 * STEP}),
    "16/255": (16, {"step": 16 * STEP}),
    "1/255, momentum .9": (50, {"momentum": 0.9}),
    "4/255, momentum .5": (25, {"step": 4 * STEP, "momentum": 0.5}),
    "16/255 falling to 1/255": (32, {"step": 16 * STEP, "last": STEP}),
    "8/255 falling to 1/255": (50, {"step": 8 * STEP, "last": STEP}),
    "1/255 rising to 8/255": (32, {"step": STEP, "last": 8 * STEP}),
    "L2 of length 0.2": (50, {"length": 0.2}),
    "L2 of length 0.5": (50, {"length": 0.5}),
    "4/255 through noise of .01": (25, {"step": 4 * STEP, "noise": 0.01}),
    "4/255 through noise of .03": (25, {"step": 4 * STEP, "noise": 0.03}),
}


def prepared(file: Path) -> torch.Tensor:
    """The picture as the model's manifest prepares it, `[3, H, W]` in 0..1."""
    picture = Image.open(file).convert("RGB")
    scale = RESIZED / min(picture.size)
    w, h = (round(side * scale) for side in picture.size)
    left, top = (w - SIDE) // 2, (h - SIDE) // 2
    picture = picture.resize((w, h), Image.Resampling.BICUBIC).crop((left, top, left + SIDE, top + SIDE))
    return torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)


def finished(fields: torch.Tensor) -> np.ndarray:
    """Ranks of the gray, blurred maps, a row each."""
    taps = torch.exp(-((torch.arange(49) - 24.0) ** 2) / (2 * 7.7**2))
    taps /= taps.sum()
    gray = (fields.abs() * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    gray = F.pad(gray, (24, 24, 24, 24), mode="reflect")
    blurred = F.conv2d(F.conv2d(gray, taps.view(1, 1, 1, 49)), taps.view(1, 1, 49, 1))
    return np.stack([rankdata(row) for row in blurred.flatten(1).numpy()])


def agreement(a: np.ndarray, b: np.ndarray) -> str:
    """Mean and least Spearman of maps, row by row."""
    ranks = [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    return f"{np.mean(ranks):.3f} {min(ranks):.3f}"


def walk(net, start, classes, steps, read_at=(), step=STEP, last=None, momentum=0.0, length=None, noise=0.0):
    """Walks all rows; the maps after each of `read_at` steps and at the end."""
    random = torch.Generator().manual_seed(0)
    now, speed, maps = start.clone(), torch.zeros_like(start), {}
    for n in range(1, steps + 1):
        seen = now + noise * torch.randn(now.shape, generator=random) if noise else now
        x = ((seen - MEAN) / STD).detach().requires_grad_()
        logits = net(x)[torch.arange(len(classes)), classes]
        (gradient,) = torch.autograd.grad(logits.sum(), x)
        if length is None:
            size = step if last is None else step * (last / step) ** ((n - 1) / (steps - 1))
            move = size * gradient / gradient.abs().amax((1, 2, 3), keepdim=True)
        else:
            move = length * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        speed = momentum * speed + move
        now = now - speed
        if n in read_at or n == steps:
            maps[n] = finished(now - start)
    return maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    module = OnnxNet(args.file)
    rows = [line.split("\t") for line in (args.folder / "classes.txt").read_text().splitlines() if line]
    rows = rows[:: max(1, len(rows) // args.pictures)][: args.pictures]
    pictures = torch.stack([prepared(args.folder / row[0]) for row in rows])
    classes = torch.tensor([int(row[2]) for row in rows])
    random = torch.Generator().manual_seed(1)
    away = (
        torch.zeros_like(pictures),
        1e-6 * torch.randn(pictures.shape, generator=random),
        torch.randint(-1, 2, pictures.shape, generator=random) / 255,
    )

    def net(x):
        return module(x)[module.output_names[0]]

    walks = {name: walk(net, pictures + moved, classes, READ_AT[-1], READ_AT) for name, moved in zip(STARTS, away, strict=True)}
    plain, near, level = (walks[name] for name in STARTS)
    end = READ_AT[-1]
    print("steps: to its own 500, to the 500 from 1e-6 away, to as many from 1e-6 away, to as many from 1 level away")
    for n in READ_AT:
        pairs = (plain[end], near[end], near[n], level[n])
        print(f"{n:4}: " + " | ".join(agreement(plain[n], other) for other in pairs), flush=True)
    print("walk, steps: to the 500 steps of 1/255, and to those from 1e-6 away")
    for name, (steps, differs) in OTHERS.items():
        maps = walk(net, pictures, classes, steps, **differs)[steps]
        print(f"{name}, {steps}: {agreement(maps, plain[end])} | {agreement(maps, near[end])}", flush=True)


if __name__ == "__main__":
    main()
