"""Maps of pytorch-grad-cam and Captum on the networks of `tests/golden/nets`, for fame's to be held against.

    pip install grad-cam captum                # beside what the other oracles need
    python cam_parity.py                       # writes ../golden/cam: every third pixel, small enough to commit
    python cam_parity.py --stride 1 --out DIR  # whole maps; FAME_CAM_PARITY=DIR cargo test -p fame-tests --test cam_parity

Both libraries hook modules, and an ONNX graph has none. So `onnx_torch`'s graph gets real ones: an Identity behind each
layer that is looked at (hooks and Ablation-CAM's replacement go there), an `nn.Conv2d` or `nn.BatchNorm2d` for each such
node (FullGrad looks for exactly these classes) and an `nn.ReLU` for each ReLU (guided backpropagation replaces these).
The weights and the arithmetic stay those of the one file that fame reads too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import captum.attr as ca
import numpy as np
import onnx_torch
import pytorch_grad_cam as pgc
import torch
from formula import INPUT, noise
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

HERE = Path(__file__).resolve().parent
NETS = HERE.parent / "golden" / "nets"

# Layers to look at: fame takes the same names.
LAYERS = {
    "resnet50_slim": ["/layer3/layer3.5/relu_2/Relu_output_0", "/layer4/layer4.2/relu_2/Relu_output_0"],
    "densenet_slim": ["/features/transition2/conv/Conv_output_0"],
    "vit_slim": ["/encoder/layers/encoder_layer_1/Add_1_output_0"],
}

# Ours, pytorch-grad-cam's. `{layer}` is the first layer; maps with a random part are left out.
CAMS = {
    "GradCam": pgc.GradCAM,
    "GradCamElementwise": pgc.GradCAMElementWise,
    "HiResCam": pgc.HiResCAM,
    "GradCamPlusPlus": pgc.GradCAMPlusPlus,
    "XGradCam": pgc.XGradCAM,
    "LayerCam": pgc.LayerCAM,
    "EigenCam": pgc.EigenCAM,
    "EigenGradCam": pgc.EigenGradCAM,
    "ScoreCam": pgc.ScoreCAM,
    "AblationCam": pgc.AblationCAM,
}


class ModuleNet(nn.Module):
    """An ONNX network made of modules, answering with its first output."""

    def __init__(self, path: Path, layers: list[str]):
        super().__init__()
        self.net = onnx_torch.OnnxNet(path)
        self.taps: list[str] = []
        nodes = []
        for op, inputs, outputs, attributes in self.net.nodes:
            module = self.module(op, inputs, attributes)
            tapped = outputs[0] if outputs[0] in layers else None
            made = [f"{tapped}.before", *outputs[1:]] if tapped else outputs
            if module is None:
                nodes.append((op, inputs, made, attributes))
            else:
                nodes.append((self.slot(module), inputs[:1], made, {}))
            if tapped:
                nodes.append((self.slot(nn.Identity()), [f"{tapped}.before"], [tapped], {}))
                self.taps.append(nodes[-1][0])
        self.net.nodes = nodes
        self.net.last_use = {name: i for i, (_, ins, _, _) in enumerate(nodes) for name in ins}
        self.eval()

    def slot(self, module: nn.Module) -> str:
        """Makes `module` an operator. It is looked up by name in each run: Ablation-CAM puts another in its place."""
        name = f"m{len(self._modules)}"
        setattr(self, name, module)
        # The graph's operators are one table for all networks, so the name holds this one's identity.
        unique = f"{id(self)}.{name}"
        onnx_torch.OPS[unique] = lambda x, *, a: getattr(self, name)(x)
        return unique

    def tap(self, index: int) -> nn.Module:
        return getattr(self, self.taps[index].split(".")[1])

    def module(self, op: str, inputs: list[str], a: dict) -> nn.Module | None:
        weights = [getattr(self.net, self.net.slots[name]) for name in inputs[1:] if name in self.net.slots]
        if op == "Relu":
            return nn.ReLU()
        if op == "Conv":
            weight, bias = weights[0], weights[1] if len(weights) > 1 else None
            padding, explicit = onnx_torch._split_pads(a.get("pads", [0, 0, 0, 0]), 2)
            assert explicit is None, "asymmetric padding"
            groups = a.get("group", 1)
            conv = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:]), a.get("strides", 1), padding,
                             a.get("dilations", 1), groups, bias is not None)  # fmt: skip
            conv.weight.data = weight
            if bias is not None:
                conv.bias.data = bias
            return conv
        if op == "BatchNormalization":
            scale, shift, mean, variance = weights
            norm = nn.BatchNorm2d(len(scale), eps=a.get("epsilon", 1e-5))
            norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = scale, shift, mean, variance
            return norm
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[self.net.output_names[0]]


def to_grid(tokens: torch.Tensor) -> torch.Tensor:
    """[N, 1 + s², D] without the class token as [N, D, s, s]."""
    side = int((tokens.shape[1] - 1) ** 0.5)
    return tokens[:, 1:].reshape(len(tokens), side, side, -1).permute(0, 3, 1, 2)


def maps_of(name: str) -> tuple[int, dict[str, tuple[str, np.ndarray]]]:
    """The class that is explained, and by name what fame must be asked and what the libraries answer."""
    path, layers = NETS / f"{name}.onnx", LAYERS[name]
    tokens = name.startswith("vit")
    net = ModuleNet(path, layers)
    x = torch.from_numpy(noise(int(np.prod(net.net.input_shape)), INPUT).reshape(net.net.input_shape))
    with torch.no_grad():
        logits = net(x)
        # Putting modules in place must have changed nothing.
        assert torch.allclose(logits, onnx_torch.OnnxNet(path)(x)[net.net.output_names[0]], atol=1e-6)
    label = int(logits.argmax())
    target = [ClassifierOutputTarget(label)]
    out = {}

    def cam(method, taps, **options):
        make = method(net, [net.tap(i) for i in taps], reshape_transform=to_grid if tokens else None, **options)
        make.batch_size = 16
        return np.array(make(x.clone(), target)[0])

    finish = "loss: Logit(class: Index({0})), finish: PytorchGradCam".format(label)
    for ours, theirs in CAMS.items():
        if tokens and ours == "HiResCam":
            continue  # Behind this layer stands a layer normalisation, so gradient times activation is zero but for rounding.
        options = {"ablation_layer": AblationLayerVit() if tokens else AblationLayer()} if ours == "AblationCam" else {}
        own = ", ablation: PytorchGradCam" if ours == "AblationCam" else ""
        out[ours] = f'{ours}(layer: "{layers[0]}", {finish}{own})', cam(theirs, [0], **options)
    if len(layers) > 1:
        both = "[" + ", ".join(f'"{layer}"' for layer in layers) + "]"
        out["LayerCam, two layers"] = f"LayerCam(layer: {both}, {finish})", cam(pgc.LayerCAM, range(len(layers)))
    if not tokens:
        out["FullGrad"] = f"FullGrad(form: PytorchGradCam, {finish})", np.array(pgc.FullGrad(net, [])(x.clone(), target)[0])

    which = f"loss: Logit(class: Index({label})), map: [Abs(), MaxNormalize()]"

    def attribution(by, **options):
        return by.attribute(x.clone().requires_grad_(), target=label, **options)[0].detach().numpy()

    out["Saliency"] = f"Saliency({which})", attribution(ca.Saliency(net), abs=False)
    out["GradientTimesInput"] = f"GradientTimesInput({which})", attribution(ca.InputXGradient(net))
    if not tokens:
        out["GuidedBackprop"] = f"GuidedBackprop({which})", attribution(ca.GuidedBackprop(net))
    for ours, theirs in [("GaussLegendre", "gausslegendre"), ("RiemannLeft", "riemann_left"), ("RiemannRight", "riemann_right"), ("RiemannMiddle", "riemann_middle")]:  # fmt: skip
        spec = f"IntegratedGradients(quadrature: {ours}, {which})"
        out[f"IntegratedGradients, {ours}"] = spec, attribution(ca.IntegratedGradients(net), method=theirs, n_steps=50, internal_batch_size=10)
    return label, out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "golden" / "cam", help="folder to write to")
    parser.add_argument("--stride", type=int, default=3, help="keep every n-th row and column")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name in LAYERS:
        label, maps = maps_of(name)
        kept = {method: m[..., :: given.stride, :: given.stride].astype(np.float32) for method, (_, m) in maps.items()}
        np.save(given.out / f"{name}.npy", np.concatenate([m.ravel() for m in kept.values()]))
        methods = [{"name": method, "explainer": maps[method][0], "values": m.size} for method, m in kept.items()]
        about = {"stride": given.stride, "class": label, "pytorch_grad_cam": "1.5.7", "captum": ca.__dict__.get("__version__") or "0.9.0", "methods": methods}
        (given.out / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
        print(f"{name}: {len(methods)} maps, {sum(m.nbytes for m in kept.values()) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
