"""Maps of pytorch-grad-cam and Captum on the networks of `tests/golden/nets`, for fame's to be held against.

    pip install grad-cam captum legrad_torch   # beside what the other oracles need
    python cam_parity.py                       # writes ../golden/cam: every third pixel, small enough to commit
    python cam_parity.py --stride 1 --out DIR  # whole maps; FAME_CAM_PARITY=DIR cargo test -p fame-tests --test cam_parity

Both libraries hook modules, and an ONNX graph has none. So `onnx_torch`'s graph gets real ones: an Identity behind each
layer that is looked at (hooks and Ablation-CAM's replacement go there), an `nn.Conv2d` or `nn.BatchNorm2d` for each such
node (FullGrad looks for exactly these classes) and an `nn.ReLU` for each ReLU (guided backpropagation replaces these).
The weights and the arithmetic stay those of the one file that fame reads too.

LeGrad's program takes OpenCLIP's vision transformer, which is given the same weights. Deep Feature Factorization's starts
scikit-learn's NMF at random numbers; here it starts at NNDSVD, as fame does, and its own maps must be the same ones.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from unittest import mock

import captum.attr as ca
import cv2
import legrad.wrapper
import numpy as np
import onnx
import onnx_torch
import pytorch_grad_cam as pgc
import pytorch_grad_cam.feature_factorization.deep_feature_factorization as factorization
import sklearn
import torch
from formula import INPUT, noise
from open_clip.transformer import LayerNorm, VisionTransformer
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from sklearn.decomposition import NMF
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


class ShapleyCam(pgc.ShapleyCAM):
    """pytorch-grad-cam's, whose 1.5.7 makes a grid of gradients and Hessian but not of the activations they weigh."""

    def get_cam_image(self, input_tensor, target_layer, targets, activations, grads, eigen_smooth=False):
        weights = self.get_cam_weights(input_tensor, target_layer, targets, activations, grads)
        reshape = self.activations_and_grads.reshape_transform or (lambda a: a)
        return (weights[:, :, None, None] * reshape(activations).detach().numpy()).sum(axis=1)


def concepts(net: ModuleNet, x: torch.Tensor, tap: int, count: int, tokens: bool, label: int) -> list[tuple[np.ndarray, float | None]]:
    """For each concept of a layer ‖w‖·h, enlarged; and what the linear layer at the end, where it reads the mean of this
    one, says of class `label` for the concept where it is strongest."""
    kept = {}
    handle = net.tap(tap).register_forward_hook(lambda _, __, out: kept.update(a=out.detach()))
    with torch.no_grad():
        net(x)
    handle.remove()
    a = (to_grid(kept["a"]) if tokens else kept["a"]).numpy().astype(np.float64)
    floor = a.min(axis=(0, 2, 3))
    _, usual = factorization.dff(a.copy(), n_components=count)
    # The library asks for random numbers by name.
    with mock.patch.object(factorization, "NMF", lambda n_components, **_: NMF(n_components, init="nndsvd", random_state=0)):
        vectors, places = factorization.dff(a.copy(), n_components=count)
    out = []
    for k in range(count):
        channels, place = vectors[:, k] - floor, places[0, k]
        alike = max(np.corrcoef(place.ravel(), other.ravel())[0, 1] for other in usual[0])
        assert alike > 0.999, f"the library's own start ends elsewhere: {alike}"
        score = None
        linear = [getattr(net.net, net.net.slots[name]).numpy() for name in net.net.nodes[-1][1][1:]]
        if not tokens and linear[0].shape[1] == len(channels):
            score = float(linear[0][label] @ (channels * place.max() + floor) + linear[1][label])
        out.append((cv2.resize(place * np.linalg.norm(channels), x.shape[:1:-1]), score))
    return out


def legrad_maps(path: Path, x: torch.Tensor, label: int) -> dict[str, np.ndarray]:
    """LeGrad's own program on OpenCLIP's vision transformer with the weights of torchvision's, which `path` holds."""
    graph = onnx.load(path).graph
    w = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer}
    depth, heads, patch = 3, 3, w["conv_proj.weight"].shape[-1]
    width, classes = w["heads.head.weight"].shape[1], w["heads.head.weight"].shape[0]
    inner = w["encoder.layers.encoder_layer_0.mlp.0.bias"].numel()
    visual = VisionTransformer(x.shape[-1], patch, width, depth, heads, (inner + 0.5) / width, output_dim=classes,
                               no_ln_pre=True, norm_layer=partial(LayerNorm, eps=1e-6))  # fmt: skip
    visual.conv1 = nn.Conv2d(3, width, patch, patch)
    given = {"conv1.weight": w["conv_proj.weight"], "conv1.bias": w["conv_proj.bias"], "class_embedding": w["class_token"][0, 0],
             "positional_embedding": w["encoder.pos_embedding"][0], "ln_post.weight": w["encoder.ln.weight"],
             "ln_post.bias": w["encoder.ln.bias"], "proj": w["heads.head.weight"].T}  # fmt: skip
    # The exporter turned matrices that stand behind a MatMul and named them anew: they are found by their nodes.
    turned = {n.name: w[n.input[1]].T for n in graph.node if n.op_type == "MatMul" and n.input[1] in w}
    for n in range(depth):
        ours, theirs = f"encoder.layers.encoder_layer_{n}", f"transformer.resblocks.{n}"
        at = f"/encoder/layers/encoder_layer_{n}"
        given |= {f"{theirs}.ln_{i}.{part}": w[f"{ours}.ln_{i}.{part}"] for i in (1, 2) for part in ("weight", "bias")}
        given |= {f"{theirs}.attn.in_proj_weight": turned[f"{at}/self_attention/MatMul"],
                  f"{theirs}.attn.in_proj_bias": w[f"{ours}.self_attention.in_proj_bias"],
                  f"{theirs}.attn.out_proj.weight": w[f"{ours}.self_attention.out_proj.weight"],
                  f"{theirs}.attn.out_proj.bias": w[f"{ours}.self_attention.out_proj.bias"],
                  f"{theirs}.mlp.c_fc.weight": turned[f"{at}/mlp/mlp.0/MatMul"],
                  f"{theirs}.mlp.c_fc.bias": w[f"{ours}.mlp.0.bias"],
                  f"{theirs}.mlp.c_proj.weight": turned[f"{at}/mlp/mlp.3/MatMul"],
                  f"{theirs}.mlp.c_proj.bias": w[f"{ours}.mlp.3.bias"]}  # fmt: skip
    visual.load_state_dict(given)

    class Clip(nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = visual

        def encode_image(self, image: torch.Tensor) -> torch.Tensor:
            return self.visual(image)

    wrapped = legrad.wrapper.LeWrapper(Clip().eval(), layer_index=0)
    with torch.no_grad():
        net = onnx_torch.OnnxNet(path)
        assert torch.allclose(wrapped.visual(x) + w["heads.head.bias"], net(x)[net.output_names[0]], atol=1e-5)
    one = torch.eye(classes)[label : label + 1]
    # A logit does not divide by the length of what the head gives; the program does, for CLIP's loss.
    with mock.patch.object(legrad.wrapper.F, "normalize", lambda v, dim=-1: v):
        out = {"Mean": wrapped.compute_legrad_clip(one, x)[0, 0].detach().numpy()}
    # The same with the class token of each layer in place of the mean.
    cells = 0
    for block in wrapped.visual.transformer.resblocks:
        y = (wrapped.visual.ln_post(block.feat_post_mlp[0]) @ wrapped.visual.proj)[0, label]
        gradient = torch.autograd.grad(y, block.attn.attention_maps, retain_graph=True)[0].clamp(min=0)
        cells = cells + gradient.reshape(-1, *gradient.shape[-2:]).mean((0, 1))[1:]
    side = int(len(cells) ** 0.5)
    own = torch.nn.functional.interpolate(cells.reshape(1, 1, side, side), scale_factor=patch, mode="bilinear")[0, 0].numpy()
    return out | {"Own": (own - own.min()) / (own.max() - own.min())}


def maps_of(name: str, path: Path | None = None, x: torch.Tensor | None = None) -> tuple[int, dict[str, tuple[str, np.ndarray, dict]]]:
    """The class that is explained, and by name what fame must be asked and what the libraries answer: a map, which of
    fame's it is where there are several, and a fact. Of the goldens' network and noise, or of the same network in another
    file `path` and the input `x`."""
    path, layers = path or NETS / f"{name}.onnx", LAYERS[name]
    tokens = name.startswith("vit")
    net = ModuleNet(path, layers)
    if x is None:
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
        out["FullGrad"] = f"FullGrad(form: PytorchGradCam, input: Network, {finish})", np.array(pgc.FullGrad(net, [])(x.clone(), target)[0])

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

    if name != "densenet_slim":
        for tap, count in [(0, 3)] if tokens else [(0, 3), (1, 2)]:
            spec = f'DeepFeatureFactorization(layer: "{layers[tap]}", concepts: {count}, loss: Logit(class: Index({label})))'
            for k, (place, score) in enumerate(concepts(net, x, tap, count, tokens, label)):
                about = {"map": k} | ({} if score is None else {"score": score})
                out[f"DeepFeatureFactorization, layer {tap + 1}, concept {k + 1}"] = spec, place, about
    out["ShapleyCam"] = f'ShapleyCam(layer: "{layers[0]}", {finish})', cam(ShapleyCam, [0])
    if tokens:
        for pooling, m in legrad_maps(path, x, label).items():
            # Min-max behind the formula: as a finished map.
            out[f"LeGrad, {pooling}"] = f"LeGrad(pooling: {pooling}, loss: Logit(class: Index({label})))", m, {"finished": True}
    return label, {method: (of[0], of[1], of[2] if len(of) > 2 else {}) for method, of in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "golden" / "cam", help="folder to write to")
    parser.add_argument("--stride", type=int, default=3, help="keep every n-th row and column")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name in LAYERS:
        label, maps = maps_of(name)
        kept = {method: m[..., :: given.stride, :: given.stride].astype(np.float32) for method, (_, m, _) in maps.items()}
        np.save(given.out / f"{name}.npy", np.concatenate([m.ravel() for m in kept.values()]))
        methods = [{"name": method, "explainer": maps[method][0], "values": m.size} | maps[method][2] for method, m in kept.items()]
        about = {"stride": given.stride, "class": label, "pytorch_grad_cam": "1.5.7", "captum": ca.__dict__.get("__version__") or "0.9.0", "scikit_learn": sklearn.__version__, "legrad_torch": "1.1", "methods": methods}
        (given.out / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")
        print(f"{name}: {len(methods)} maps, {sum(m.nbytes for m in kept.values()) / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
