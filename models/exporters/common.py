"""What every PyTorch exporter of this folder shares: weights, the export itself, and the closing report.

Only `torchvision_net.py` and `adaface_iresnet.py` (and the oracles in `tests/oracles`) import this file;
`efficientnet_lite0.py` stands alone because it must run where there is no PyTorch.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import sys
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn


class Refused(Exception):
    """Input that cannot be used. Its text is the one sentence that the user sees."""


def run(main) -> None:
    """Runs a command and turns a refusal into one sentence and exit status 1, without a traceback."""
    try:
        main()
    except Refused as refusal:
        sys.exit(f"error: {refusal}")


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


# --- weights ---------------------------------------------------------------------------------------------------------


def smooth_images(count: int, channels: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random pictures with structure at several scales.

    White noise alone averages out within a few layers, and batch statistics measured on it would be nearly constant.
    """
    total = torch.zeros(count, channels, size, size)
    for cells in (2, 5, 11, size):
        coarse = torch.randn(count, channels, cells, cells, generator=generator)
        total += nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    return total / total.std()


def _closes_a_residual_branch(module: nn.Module, norms: set[nn.Module]) -> nn.Module | None:
    """The last normalisation of a residual branch, where `module` is a block that adds its input back."""
    if not any(hasattr(module, name) for name in ("downsample", "use_res_connect", "shortcut_layer")):
        return None
    inside = [m for name, m in module.named_modules() if m in norms and "downsample" not in name and "shortcut" not in name]
    return inside[-1] if inside else None


@torch.no_grad()
def randomise(model: nn.Module, seed: int, channels: int, size: int, images: int = 16) -> None:
    """Gives `model` random weights under which signals and gradients keep a sane size at every depth.

    He initialisation for convolutions; non-trivial scale and shift in every normalisation; PReLU slopes in 0.1..0.4;
    and batch statistics that were *measured* on random pictures and then disturbed a little, so that the running
    mean and variance matter but no channel dies or explodes. The last normalisation of each residual branch is damped
    (x 0.4), else the sum of 16 or more branches would grow with depth.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: torch.Tensor, low: float, high: float) -> None:
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    def normal(tensor: torch.Tensor, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std)

    batch_norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    damped = {_closes_a_residual_branch(m, set(batch_norms)) for m in model.modules()} - {None}

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            normal(module.weight, math.sqrt(2.0 / fan_in))
        elif isinstance(module, nn.Linear):
            normal(module.weight, math.sqrt(1.0 / module.in_features))
        elif isinstance(module, nn.MultiheadAttention):
            normal(module.in_proj_weight, math.sqrt(1.0 / module.embed_dim))
            uniform(module.in_proj_bias, -0.1, 0.1)
        elif isinstance(module, nn.PReLU):
            uniform(module.weight, 0.1, 0.4)
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
            if module.weight is not None:
                uniform(module.weight, 0.8, 1.2)
                normal(module.bias, 0.1)
                if module in damped:
                    module.weight.mul_(0.4)
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            uniform(module.bias, -0.1, 0.1)
        for name, parameter in module.named_parameters(recurse=False):
            if name == "layer_scale":  # ConvNeXt starts it at 1e-6, which would switch every block off
                uniform(parameter, 0.1, 0.4)
            elif name in ("class_token", "pos_embedding"):
                normal(parameter, 0.2)

    if batch_norms:
        momenta = [m.momentum for m in batch_norms]
        model.eval()
        for norm in batch_norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches seen
            norm.train()
        model(smooth_images(images, channels, size, generator))
        for norm, momentum in zip(batch_norms, momenta):
            norm.momentum = momentum
            deviation = norm.running_var.sqrt()
            norm.running_mean.add_(0.1 * deviation * torch.randn(deviation.shape, generator=generator))
            norm.running_var.mul_(torch.rand(deviation.shape, generator=generator) * 0.45 + 0.8).clamp_(min=1e-4)
    model.eval()


class _Inert:
    """Takes the place of any class that a checkpoint names and we do not need; it remembers nothing and runs nothing."""

    def __new__(cls, *_args, **_kwargs):
        return object.__new__(cls)

    def __init__(self, *_args, **_kwargs):
        pass

    def __call__(self, *_args, **_kwargs):
        return _Inert()

    def __setstate__(self, _state):
        pass

    def __setitem__(self, _key, _value):
        pass

    def append(self, _value):
        pass

    def extend(self, _values):
        pass


class _TensorsOnly(pickle.Unpickler):
    """Reads the tensors of a checkpoint and nothing else.

    Checkpoints of training frameworks also hold optimiser states, callbacks and argument objects; PyTorch's own
    `weights_only` refuses such files altogether, and reading them freely would run whatever code they name.
    """

    ALLOWED = {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
        ("torch", "Size"),
    }

    def find_class(self, module: str, name: str):
        if (module, name) in self.ALLOWED or (module == "torch" and name.endswith("Storage")):
            return super().find_class(module, name)
        return _Inert


class _TensorsOnlyModule:
    """What `torch.load` asks of a pickle module."""

    __name__ = "tensors_only"
    Unpickler = _TensorsOnly

    @staticmethod
    def load(file, **options):
        return _TensorsOnly(file, **options).load()


def read_checkpoint(path: Path) -> dict:
    """Whatever mapping the file holds, read without running code from it."""
    if not path.is_file():
        raise Refused(f"there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_TensorsOnlyModule)
    except Exception as problem:  # torch.load raises a dozen kinds, none of which says more to a user than its text
        raise Refused(f"{path} cannot be read as a PyTorch checkpoint ({type(problem).__name__}: {problem})") from None
    if not isinstance(content, dict):
        raise Refused(f"{path} holds a {type(content).__name__}, not a mapping of names to tensors")
    return content


def load_strictly(model: nn.Module, state: dict, origin: str) -> None:
    """Loads a state dict, and names what is missing, left over or of another shape in one sentence."""
    own = model.state_dict()
    # Batch counters are bookkeeping of the training; some writers leave them out and inference never reads them.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    other = [
        f"{k} {list(state[k].shape)} instead of {list(own[k].shape)}"
        for k in own
        if k in state and isinstance(state[k], torch.Tensor) and state[k].shape != own[k].shape
    ]
    other += [f"{k} is no tensor" for k in own if k in state and not isinstance(state[k], torch.Tensor)]

    def few(names: list[str]) -> str:
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    faults = [f"{what}: {few(names)}" for what, names in (("missing", missing), ("left over", extra), ("of another shape", other)) if names]
    if faults:
        raise Refused(f"{origin} does not fit this network; {'; '.join(faults)}")
    model.load_state_dict(state, strict=False)


# --- export ----------------------------------------------------------------------------------------------------------


def export(
    model: nn.Module,
    path: Path,
    *,
    shape: tuple[int, int, int],
    batch: int | None,
    opset: int = 17,
    exporter: str = "torchscript",
    output: str = "output",
) -> None:
    """Writes `model` as ONNX; `batch` None leaves the batch dimension open under the name `N`."""
    model.eval()
    example = torch.zeros(batch or 2, *shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"input_names": ["input"], "output_names": [output], "opset_version": opset}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            if batch is None:
                options["dynamic_axes"] = {"input": {0: "N"}, output: {0: "N"}}
            torch.onnx.export(model, (example,), str(path), dynamo=False, **options)
        else:
            if batch is None:
                options["dynamic_shapes"] = ({0: torch.export.Dim("N", min=1)},)
            # One self-contained file, as fame's manifests name exactly one file per model.
            torch.onnx.export(model, (example,), str(path), dynamo=True, external_data=False, verbose=False, **options)
    onnx.checker.check_model(str(path))


def target_layers(path: Path) -> list[tuple[str, str, list]]:
    """(tensor, op, shape) of the layers people explain: the last block of each resolution, then the outputs."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    shapes = {}
    for value in list(model.graph.value_info) + list(model.graph.output):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [d.dim_value or d.dim_param or "?" for d in dims]
    last: dict[tuple, tuple[str, str, list]] = {}
    sums: dict[tuple, tuple[str, str, list]] = {}
    made_by: dict[str, str] = {}
    for node in model.graph.node:
        for name in node.output:
            made_by[name] = node.op_type
            shape = shapes.get(name, [])
            # Square, because inputs are: a channels-last tensor inside a ConvNeXt block has 4 dimensions too.
            is_map = len(shape) == 4 and isinstance(shape[2], int) and shape[2] == shape[3] > 1
            is_tokens = len(shape) == 3 and node.op_type in ("Add", "LayerNormalization")
            if is_map and node.op_type not in ("Constant", "Transpose", "LayerNormalization", "Reshape"):
                key = ("map", *shape[2:])
                last[key] = (name, node.op_type, shape)
                # Where there are residual sums, a block's output (with its ReLU) says more than a tensor inside one.
                if node.op_type == "Add" or (node.op_type == "Relu" and made_by.get(node.input[0]) == "Add"):
                    sums[key] = last[key]
            elif is_tokens:
                last[("tokens", node.op_type)] = (name, node.op_type, shape)
    found = [sums.get(key, layer) for key, layer in last.items()]
    maps = [layer for key, layer in last.items() if key[0] == "map"]
    if maps and maps[-1] not in found:
        found.append(maps[-1])  # such as MobileNetV2's closing convolution, which belongs to no residual block
    outputs = {value.name for value in model.graph.output}
    found += [(n, node.op_type, shapes.get(n, [])) for node in model.graph.node for n in node.output if n in outputs]
    return found


def report(path: Path, convention: str) -> None:
    print(f"wrote   {path}  ({path.stat().st_size / 1e6:.1f} MB)")
    print(f"sha256  {sha256(path)}")
    print(f"input   {convention}")
    print("layers  (last block of each resolution, then the outputs)")
    for name, op, shape in target_layers(path):
        print(f"        {name}  {op} {shape}")
