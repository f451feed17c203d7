"""Relevance by zennit on the networks of `tests/golden/nets`, for fame's `Lrp` to be held against.

    pip install zennit                   # beside what the other oracles need
    python lrp.py                        # writes ../golden/lrp: every third pixel, small enough to commit
    python lrp.py --stride 1 --out DIR   # whole maps; FAME_LRP_PARITY=DIR cargo test -p fame-tests --test lrp_parity

zennit hooks modules, so a graph becomes modules: one for each node that has a rule of its own. Everything is computed in
f64 and rounded to f32. The networks are those whose batch normalisations the exporter has folded: what zennit does with
others depends on its canonizers.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from formula import INPUT, noise
from onnx import numpy_helper
from torch import nn
from zennit import composites, rules
from zennit.composites import LayerMapComposite, layer_map_base
from zennit.layer import Sum
from zennit.types import Linear

HERE = Path(__file__).resolve().parent
NETS = HERE.parent / "golden" / "nets"

# mobilenet_v2: ReLU6, depthwise convolutions, and convolutions that read values of either sign. squeezenet: concatenation, no dense layer.
NAMES = ["resnet50_slim", "vgg_slim", "mobilenet_v2_slim", "squeezenet_slim"]

# Pixels of 0 and 1 in a network's input of mean 0.5 and standard deviation 0.5.
BOX = {"low": torch.tensor(-1.0), "high": torch.tensor(1.0)}


def only_epsilon(epsilon: float) -> LayerMapComposite:
    return LayerMapComposite(layer_map_base() + [(Linear, rules.Epsilon(epsilon=epsilon))])


def with_w_square() -> composites.SpecialFirstLayerMapComposite:
    plus = composites.EpsilonPlus()
    return composites.SpecialFirstLayerMapComposite(layer_map=plus.layer_map, first_map=[(Linear, rules.WSquare())])


# What fame must be asked, and zennit's composite.
METHODS = {
    "composite: EpsilonPlus": composites.EpsilonPlus,
    "composite: EpsilonPlusFlat": composites.EpsilonPlusFlat,
    "composite: EpsilonGammaBox": lambda: composites.EpsilonGammaBox(**BOX),
    "composite: EpsilonGammaBox, gamma: 2, epsilon: 0.1": lambda: composites.EpsilonGammaBox(**BOX, gamma=2.0, epsilon=0.1),
    "composite: EpsilonAlpha2Beta1": composites.EpsilonAlpha2Beta1,
    "composite: EpsilonAlpha2Beta1Flat": composites.EpsilonAlpha2Beta1Flat,
    "composite: EpsilonPlus, first: WSquare": with_w_square,
    "composite: Epsilon, epsilon: 0.25": lambda: only_epsilon(0.25),
}


class Net(nn.Module):
    """An ONNX graph of the operators below as modules."""

    def __init__(self, path: Path):
        super().__init__()
        graph = onnx.load(path).graph
        self.weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self.input, self.output = graph.input[0].name, graph.output[0].name
        self.shape = [1] + [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:]
        self.steps, layers = [], []
        for node in graph.node:
            a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
            if node.op_type == "Constant":
                self.weights[node.output[0]] = torch.from_numpy(numpy_helper.to_array(a["value"]).copy())
                continue
            layers.append(self.module(node, a))
            inputs = [name for name in node.input if name not in self.weights]
            self.steps.append((node.op_type, inputs, node.output[0]))
        self.layers = nn.ModuleList(layers)
        self.eval().double().requires_grad_(False)

    def module(self, node: onnx.NodeProto, a: dict) -> nn.Module:
        given = [self.weights[name] for name in node.input[1:] if name in self.weights]
        pads = a.get("pads", [0, 0, 0, 0])
        assert pads[:2] == pads[2:], node.name
        match node.op_type:
            case "Conv":
                weight, groups = given[0], a.get("group", 1)
                made = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), a.get("strides", 1), pads[:2], a.get("dilations", 1), groups, len(given) > 1)  # fmt: skip
            case "Gemm":
                assert a.get("alpha", 1.0) == a.get("beta", 1.0) == 1.0
                weight = given[0] if a.get("transB") else given[0].T
                made = nn.Linear(weight.shape[1], weight.shape[0], len(given) > 1)
            case "Relu":
                return nn.ReLU()
            case "Clip":
                assert [float(v) for v in given] == [0.0, 6.0]
                return nn.ReLU6()
            case "MaxPool":
                return nn.MaxPool2d(a["kernel_shape"], a["strides"], pads[:2], ceil_mode=bool(a.get("ceil_mode", 0)))
            case "AveragePool":
                assert pads == [0, 0, 0, 0]
                return nn.AvgPool2d(a["kernel_shape"], a.get("strides", 1))
            case "GlobalAveragePool":
                return nn.AdaptiveAvgPool2d(1)
            case "Add":
                return Sum(-1)
            case "Flatten":
                return nn.Flatten()
            case "Concat":
                return nn.Identity()
            case other:
                raise ValueError(f"no module for {other}")
        made.weight.data = weight
        if made.bias is not None:
            made.bias.data = given[1]
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = {self.input: x}
        for layer, (op, inputs, output) in zip(self.layers, self.steps):
            read = [values[name] for name in inputs]
            joined = torch.stack(read, -1) if op == "Add" else torch.cat(read, 1) if op == "Concat" else read[0]
            values[output] = layer(joined)
        return values[self.output]


def maps_of(path: Path, x: torch.Tensor | None = None) -> tuple[int, float, dict[str, np.ndarray]]:
    """The class, its logit, and by fame's parameters the relevance of the input: of the noise of the goldens, or of `x`."""
    net = Net(path)
    if x is None:
        x = torch.from_numpy(noise(int(np.prod(net.shape)), INPUT).reshape(net.shape))
    x = x.double()
    logits = net(x)
    check(path, x, logits)
    label = int(logits.argmax())
    out = {}
    for ours, make in METHODS.items():
        with make().context(net) as hooked:
            leaf = x.clone().requires_grad_()
            y = hooked(leaf)
            start = torch.zeros_like(y)
            start[0, label] = y[0, label].detach()
            out[ours] = torch.autograd.grad(y, leaf, start)[0][0].numpy()
    return label, float(logits[0, label]), out


def check(path: Path, x: torch.Tensor, logits: torch.Tensor) -> None:
    """Making modules must have changed nothing."""
    from onnx_torch import OnnxNet

    net = OnnxNet(path).double()
    assert torch.allclose(logits, net(x)[net.output_names[0]], atol=1e-9), path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "golden" / "lrp", help="folder to write to")
    parser.add_argument("--stride", type=int, default=3, help="keep every n-th row and column")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        label, logit, maps = maps_of(NETS / f"{name}.onnx")
        kept = {method: m[..., :: given.stride, :: given.stride].astype(np.float32) for method, m in maps.items()}
        np.save(given.out / f"{name}.npy", np.concatenate([m.ravel() for m in kept.values()]))
        methods = [{"parameters": method, "values": m.size, "sum": float(maps[method].sum())} for method, m in kept.items()]
        about = {"stride": given.stride, "class": label, "logit": logit, "zennit": version("zennit"), "torch": torch.__version__, "methods": methods}
        (given.out / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
        print(f"{name}: class {label}, logit {logit:.4f}", flush=True)
        for m in methods:
            print(f"    {m['parameters']}: sum {m['sum']:.4g}, largest {np.abs(maps[m['parameters']]).max():.3g}", flush=True)


if __name__ == "__main__":
    main()
