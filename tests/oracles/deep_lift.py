"""Captum's DeepLIFT on the networks of `tests/golden/nets`, for fame's `DeepLift` to be held against.

    pip install captum                       # beside what the other oracles need
    python deep_lift.py                      # writes ../golden/deep_lift: every third pixel, small enough to commit
    python deep_lift.py --stride 1 --out DIR # whole maps; FAME_DEEP_LIFT_PARITY=DIR cargo test -p fame-tests --test deep_lift_parity

Captum hooks modules, so a graph becomes modules, as for zennit's relevance (`lrp.py`). Everything is computed in f64 and
rounded to f32. Three things are put right in Captum, and nothing else; with them attributions add up, which is checked:

* it knows no ReLU6 and would take its slope: it gets the rule of ReLU;
* where one hooked module reads another's output, as a max-pooling does a ReLU's, Captum hooks one tensor twice, and the
  first module is handed the gradient from before the second has changed it. A copy stands between them here;
* its max-pooling puts values back with `max_unpool2d`, of which one that lies in several windows keeps only the last. Here
  they are added up, which is the same where windows do not overlap.

How far Captum is away as it stands, but for ReLU6, is printed and noted in the golden.
"""

from __future__ import annotations

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path

import captum.attr as ca
import numpy as np
import torch
from captum.attr._core import deep_lift
from formula import INPUT, noise
from lrp import NETS, Net, check
from torch import nn

HERE = Path(__file__).resolve().parent

# resnet50: sums of branches and a max-pooling whose windows overlap. vgg: max-poolings whose windows do not, dense layers.
# mobilenet_v2: ReLU6 and depthwise convolutions. squeezenet: concatenation.
NAMES = ["resnet50_slim", "vgg_slim", "mobilenet_v2_slim", "squeezenet_slim"]

# The reference pictures in a network's input of mean 0.5 and standard deviation 0.5.
REFERENCES = {
    "Zero": torch.zeros_like,
    "Black": lambda x: torch.full_like(x, -1.0),
    "Mean": lambda x: x.mean((2, 3), keepdim=True).expand_as(x).contiguous(),
}

# Captum's rules as it stands.
OWN = dict(deep_lift.SUPPORTED_NON_LINEAR)


def add_up(values, indices, kernel_size, stride, padding, shape):
    """`max_unpool2d` in which windows that share a value add up."""
    flat = values.new_zeros(*shape[:2], shape[2] * shape[3])
    return flat.scatter_add(2, indices.flatten(2), values.flatten(2)).reshape(shape)


def summed_max_pool(module, inputs, outputs, grad_input, grad_output, eps=1e-10):
    return deep_lift.maxpool(module, nn.functional.max_pool2d, add_up, inputs, outputs, grad_input, grad_output, eps)


class Copy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


def with_copies(path: Path) -> Net:
    net = Net(path)
    net.layers = nn.ModuleList(nn.Sequential(layer, Copy()) for layer in net.layers)
    return net


def attribute(net: Net, x: torch.Tensor, reference: torch.Tensor, label: int) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ca.DeepLift(net).attribute(x, reference, target=label)[0].detach()


def maps_of(name: str) -> tuple[int, list[dict], dict[str, np.ndarray]]:
    path = NETS / f"{name}.onnx"
    net, copied = Net(path), with_copies(path)
    x = torch.from_numpy(noise(int(np.prod(net.shape)), INPUT).reshape(net.shape)).double()
    with torch.no_grad():
        logits = net(x)
        check(path, x, logits)
    label = int(logits.argmax())
    about, maps = [], {}
    for called, make in REFERENCES.items():
        reference = make(x)
        deep_lift.SUPPORTED_NON_LINEAR.update(OWN | {nn.ReLU6: deep_lift.nonlinear})
        theirs = attribute(net, x, reference, label)
        deep_lift.SUPPORTED_NON_LINEAR[nn.MaxPool2d] = summed_max_pool
        found = attribute(copied, x, reference, label)
        with torch.no_grad():
            difference = float(logits[0, label] - net(reference)[0, label])
        off = float((theirs - found).abs().max() / found.abs().max())
        missing = [float(m.sum()) - difference for m in (found, theirs)]
        print(f"    {called}: difference {difference:.6f}, missed by {missing[0]:.1e}; Captum as it stands: {off:.1e} of the largest away, missed by {missing[1]:.1e}", flush=True)  # fmt: skip
        rounded = attribute(with_copies(path).float(), x.float(), reference.float(), label).double()
        rounding = float((rounded - found).abs().max() / found.abs().max())
        print(f"    the same in f32: {rounding:.1e} of the largest away", flush=True)
        assert abs(missing[0]) < 1e-8 * max(1.0, abs(difference)), "attributions do not add up"
        about.append({"baseline": called, "difference": difference, "captum_as_it_stands_apart": off, "captum_in_f32_apart": rounding})
        maps[called] = found.numpy()
    return label, about, maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NAMES, help="which networks; default: all")
    parser.add_argument("--out", type=Path, default=HERE.parent / "golden" / "deep_lift", help="folder to write to")
    parser.add_argument("--stride", type=int, default=3, help="keep every n-th row and column")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.networks:
        print(name, flush=True)
        label, about, maps = maps_of(name)
        kept = [m[..., :: given.stride, :: given.stride].astype(np.float32) for m in maps.values()]
        np.save(given.out / f"{name}.npy", np.concatenate([m.ravel() for m in kept]))
        for entry, m in zip(about, kept):
            entry["values"] = m.size
        told = {"stride": given.stride, "class": label, "captum": version("captum"), "torch": torch.__version__, "references": about}
        (given.out / f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
