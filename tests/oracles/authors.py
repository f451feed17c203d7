"""Maps by the formulas of the FAME authors' code, for `preset: Authors` to be held against.

    python authors.py                        # writes ../golden/authors, small enough to commit
    python authors.py --net FILE --pairs DIR --layer NAME --out DIR   # aligned pairs of one's own, whole maps

Written anew from what their code does, choice by choice; nothing of it is copied. Networks are those of
`tests/golden/nets`, pictures are drawn by whole numbers (`drawn`), so that Rust makes the same ones. Random masks come
from SplitMix64, as fame draws them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fame_runs import Stream, seed_of
from onnx_torch import OnnxNet

HERE = Path(__file__).resolve().parent
NETS = HERE.parent / "golden" / "nets"

ETA = 1 / 255
GRAY = torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
# Six steps: at the twelfth a ReLU of the slim ResNet turns, and 1e-6 in the picture becomes 8e-2 in the map.
ITERATIONS, MASKS, PATCH, PATCHES, THETA = 6, 60, 30, 3, 0.5


def drawn(size: int, shade: int) -> torch.Tensor:
    """A picture `[3, size, size]`, RGB in 0..1: stripes, and a disc where they are inverted."""
    y, x = np.mgrid[:size, :size]
    disc = (2 * x - size) ** 2 + (2 * y - size - shade) ** 2 < (size * size) // 3
    planes = []
    for c in range(3):
        stripes = (x * shade * (c + 1) // 4 + y * (7 - c)) % 256
        planes.append(np.where(disc, 255 - stripes, stripes))
    return torch.from_numpy(np.stack(planes).astype(np.float32) / np.float32(255))


class Network:
    """A network and what stands between it and pixels in 0..1, in its own channel order."""

    def __init__(self, path: Path, mean: torch.Tensor | float, std: torch.Tensor | float, layer: str):
        self.net, self.mean, self.std, self.layer = OnnxNet(path), mean, std, layer

    def run(self, batch: torch.Tensor, taps: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
        return self.net(batch, taps)

    def output(self, batch: torch.Tensor) -> torch.Tensor:
        return self.run(batch)[self.net.output_names[0]]

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        return (pixels - self.mean) / self.std


def min_max(map_: torch.Tensor, epsilon: float = 1e-8) -> torch.Tensor:
    return (map_ - map_.min()) / (map_.max() - map_.min() + epsilon)


def blur(map_: torch.Tensor, kernel: int, sigma: float) -> torch.Tensor:
    at = torch.arange(kernel, dtype=torch.float32) - (kernel - 1) / 2
    weights = torch.exp(-at.square() / (2 * sigma**2))
    weights = weights / weights.sum()
    padded = F.pad(map_[None, None], [kernel // 2] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[0, 0]


def fame(start: torch.Tensor, loss, stop: float | None = None) -> torch.Tensor:
    """The walk of `start` down `loss`, and what moved as a map."""
    x = start.clone()
    for _ in range(ITERATIONS):
        x = x.detach().requires_grad_()
        value = loss(x)
        if stop is not None and value.item() < stop:
            break
        (gradient,) = torch.autograd.grad(value, x)
        x = x - gradient * (ETA / gradient.abs().max().clamp_min(1e-12))
    x = x.detach()
    moved = ((x * GRAY).sum(0) - (start * GRAY).sum(0)).abs()
    moved = moved / moved.max().clamp_min(1e-12)
    return min_max(blur(moved, 49, 7.7))


def cosine(a: torch.Tensor, b: torch.Tensor, frozen: bool) -> torch.Tensor:
    length = a.norm().detach() if frozen else a.norm()
    return (a * b).sum() / (length.clamp_min(1e-8) * b.norm().clamp_min(1e-8))


def enlarged(map_: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(map_[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]


def cams(network: Network, pixels: torch.Tensor, target) -> dict[str, torch.Tensor]:
    """Three CAMs of `target`, a function of the network's output, as pytorch-grad-cam makes them."""
    batch = network.normalised(pixels)[None].requires_grad_()
    values = network.run(batch, (network.layer,))
    layer = values[network.layer]
    (g,) = torch.autograd.grad(target(values[network.net.output_names[0]][0]), layer)
    a, g = layer.detach()[0], g[0]
    formulas = {
        "GradCam": (g.mean((1, 2), keepdim=True) * a).sum(0),
        "GradCamElementwise": (g * a).relu().sum(0),
        "HiResCam": (g * a).sum(0),
    }

    def finish(map_: torch.Tensor) -> torch.Tensor:
        small = map_.relu()
        small = (small - small.min()) / (1e-7 + (small - small.min()).max())
        large = enlarged(small, pixels.shape[-1]).relu()
        return min_max((large - large.min()) / (1e-7 + (large - large.min()).max()))

    return {name: finish(map_) for name, map_ in formulas.items()}


def full_grad(network: Network, pixels: torch.Tensor, label: int) -> torch.Tensor:
    """pytorch-grad-cam's FullGrad of a network that begins with its normalisation."""
    nodes = [n for n in network.net.nodes if n[0] in ("Conv", "BatchNormalization")]
    weights = lambda names: [getattr(network.net, network.net.slots[n]) for n in names]  # noqa: E731
    biases = {}
    for op, inputs, outputs, attributes in nodes:
        if op == "Conv" and len(inputs) > 2:
            biases[outputs[0]] = weights(inputs[2:3])[0]
        elif op == "BatchNormalization":
            scale, shift, mean, variance = weights(inputs[1:5])
            biases[outputs[0]] = shift - mean * scale / (variance + attributes.get("epsilon", 1e-5)).sqrt()
    x = pixels.clone().requires_grad_()
    values = network.run(network.normalised(x)[None], tuple(biases))
    y = values[network.net.output_names[0]][0, label]
    gradients = torch.autograd.grad(y, [x, *(values[name] for name in biases)], allow_unused=True)

    def share(product: torch.Tensor) -> torch.Tensor:
        stretched = [(c - c.min()) / (1e-7 + (c - c.min()).max()) for c in product.abs()]
        return sum(enlarged(c, pixels.shape[-1]) for c in stretched)

    total = share(pixels * gradients[0])
    for bias, gradient in zip(biases.values(), gradients[1:]):
        if gradient is not None and gradient.dim() == 4:
            total = total + share(bias.view(-1, 1, 1) * gradient[0])
    return (total - total.min()) / (1e-7 + (total - total.min()).max())


def fggb(network: Network, pixels: torch.Tensor, other: torch.Tensor, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = pixels.clone().requires_grad_()
    phi = network.output(network.normalised(x)[None])[0]
    unit = phi / (phi.norm() + 1e-8)
    weights = (unit * (other / (other.norm() + 1e-8))).detach() - theta / len(phi)
    total = torch.zeros(pixels.shape[1:])
    for k, weight in enumerate(weights):
        (gradient,) = torch.autograd.grad(unit[k], x, retain_graph=True)
        map_ = gradient.abs().mean(0)
        total += weight * map_ / (map_.norm() + 1e-8)
    return tuple(min_max(blur(part.clamp_min(0), 25, 5.0)) for part in (total, -total))


def corr_rise(network: Network, pixels: torch.Tensor, other: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    size = pixels.shape[-1]
    random = Stream(seed_of("CorrRise", seed))
    keep = torch.ones(MASKS, size, size)
    for mask in keep:
        for _ in range(PATCHES):
            row, column = random.below(size - PATCH + 1), random.below(size - PATCH + 1)
            mask[row : row + PATCH, column : column + PATCH] = 0
    with torch.no_grad():
        phi = network.output(network.normalised(pixels[None] * keep[:, None]))
    scores = F.cosine_similarity(phi, other[None], dim=1)
    ranks = torch.empty(MASKS)
    ranks[scores.argsort()] = torch.arange(1, MASKS + 1, dtype=torch.float32)
    k, r = keep - keep.mean(0), ranks - ranks.mean()
    correlation = (k * r[:, None, None]).mean(0) / (k.square().mean(0).sqrt() * r.square().mean().sqrt()).clamp_min(1e-8)
    correlation[keep.amin(0) > 0] = 0
    return tuple(min_max(part.clamp_min(0)) for part in (correlation, -correlation))


def of_pair(network: Network, gallery: torch.Tensor, probe: torch.Tensor) -> dict[str, tuple[str, torch.Tensor]]:
    """Everything about the probe, given the gallery, and what fame must be asked for it."""
    with torch.no_grad():
        other = network.output(network.normalised(gallery)[None])[0]
    similarity = lambda x: cosine(network.output(network.normalised(x)[None])[0], other, False)  # noqa: E731
    roles = 'roles: Some(["probe"])'
    walk = f"perturbation: Lots(iterations: {ITERATIONS}), {roles}"
    out = {
        "Fame, similar": (f"Fame(layer: Output, loss: Similarity(), {walk})", fame(probe, similarity, 0.01)),
        "Fame, dissimilar": (
            f"Fame(layer: Output, loss: Dissimilarity(), {walk})",
            fame(probe, lambda x: 1 - similarity(x), 0.01),
        ),
    }
    for name, map_ in cams(network, probe, lambda phi: cosine(phi, other, True)).items():
        out[name] = f'{name}(layer: "{network.layer}", {roles})', map_
    parts = {
        "CorrRise": (f"CorrRise(layer: Output, masks: {MASKS}, {roles})", corr_rise(network, probe, other, 0)),
        "Fggb": (f"Fggb(layer: Output, threshold: {THETA}, {roles})", fggb(network, probe, other, THETA)),
    }
    for name, (spec, maps) in parts.items():
        for sign, map_ in zip(("similar", "dissimilar"), maps):
            out[f"{name}, {sign}"] = spec, map_
    return out


def of_class(network: Network, pixels: torch.Tensor) -> dict[str, tuple[str, torch.Tensor]]:
    """Everything about the class that the network sees, and what fame must be asked for it."""
    start = network.normalised(pixels)
    with torch.no_grad():
        label = int(network.output(start[None])[0].argmax())
    loss = f"loss: Logit(class: Index({label}))"
    walk = f"perturbation: Lots(iterations: {ITERATIONS})"
    cell = lambda x: network.run(network.normalised(x)[None], (network.layer,))[network.layer][0, :, 1, 0].abs().sum()  # noqa: E731
    out = {
        "Fame, class": (f"Fame(layer: Output, {loss}, {walk})", fame(start, lambda x: network.output(x[None])[0, label])),
        "Fame, cell": (
            f'Fame(layer: "{network.layer}", loss: FeatureMapCell(cells: Only([(1, 0)])), {walk})',
            fame(pixels, cell),
        ),
        "FullGrad": (f"FullGrad({loss})", full_grad(network, pixels, label)),
    }
    for name, map_ in cams(network, pixels, lambda y: y[label]).items():
        out[name] = f'{name}(layer: "{network.layer}", {loss})', map_
    return out


def write(folder: Path, name: str, about: dict, maps: dict[str, tuple[str, torch.Tensor]], stride: int) -> None:
    kept = {method: m.numpy()[::stride, ::stride].astype(np.float32) for method, (_, m) in maps.items()}
    np.save(folder / f"{name}.npy", np.concatenate([m.ravel() for m in kept.values()]))
    methods = [{"name": method, "explainer": maps[method][0], "values": m.size} for method, m in kept.items()]
    (folder / f"{name}.json").write_text(json.dumps({**about, "stride": stride, "methods": methods}, indent=2) + "\n")
    print(f"{name}: {len(methods)} maps, {sum(m.nbytes for m in kept.values()) / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "golden" / "authors", help="folder to write to")
    parser.add_argument("--net", type=Path, help="a face network, fed as (x - 0.5) / (128 / 255), BGR")
    parser.add_argument("--pairs", type=Path, help="a folder of crops and pairs.csv (gallery,probe,genuine)")
    parser.add_argument("--layer", help="the tensor that CAMs look at")
    parser.add_argument("--stride", type=int, default=2, help="keep every n-th row and column")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.net:
        of_own(given)
        return
    faces = Network(NETS / "iresnet50_slim.onnx", 0.5, 0.5, "/body/body.23/Add_output_0")
    classes = Network(NETS / "resnet50_slim.onnx", MEAN, STD, "/layer4/layer4.2/relu_2/Relu_output_0")
    bgr = [drawn(56, shade).flip(0) for shade in (3, 5)]
    write(given.out, "faces", {"size": 56}, of_pair(faces, *bgr), given.stride)
    write(given.out, "classes", {"size": 64}, of_class(classes, drawn(64, 3)), given.stride)


def of_own(given: argparse.Namespace) -> None:
    """The CAMs and FGGB of every pair of a folder, both sides, as ROW_ROLE_NAME.npy."""
    from PIL import Image

    network = Network(given.net, 0.5, 128 / 255, given.layer)
    rows = [line.split(",") for line in (given.pairs / "pairs.csv").read_text().split("\n")[1:] if line]

    def crop(name: str) -> torch.Tensor:
        picture = Image.open(given.pairs / (Path(name).stem + ".png")).convert("RGB")
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).flip(0).float() / 255

    for row, (gallery, probe, _) in enumerate(rows):
        crops = [crop(gallery), crop(probe)]
        for role, side, opposite in (("gallery", 0, 1), ("probe", 1, 0)):
            with torch.no_grad():
                other = network.output(network.normalised(crops[opposite])[None])[0]
            maps = cams(network, crops[side], lambda phi: cosine(phi, other, True))
            maps["Fggb_similar"], maps["Fggb_dissimilar"] = fggb(network, crops[side], other, 0.0)
            for name, map_ in maps.items():
                np.save(given.out / f"{row}_{role}_{name}.npy", map_.numpy())
        print(f"{row + 1} of {len(rows)}", flush=True)


if __name__ == "__main__":
    main()
