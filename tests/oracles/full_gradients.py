"""Forward output and input gradient of one ONNX file by PyTorch's autograd, in full.

    python full_gradients.py --onnx resnet50.onnx --out /tmp/resnet50
    python full_gradients.py --onnx net.onnx --input x.npy --layer /layer4/layer4.2/relu_2/Relu_output_0 --f64 --out /tmp/x

Writes input.npy, cotangent.npy, output.npy and input_gradient.npy = d(sum(cotangent * output)) / d(input), all f32;
with --layer also layer.npy and layer_gradient.npy; with --f64 the same results computed in f64 under `f64/` (stored as
f64). Input and cotangent come from `formula.py` unless given. The weights are those of the ONNX file itself, so what
differs from another program on the same file is that program.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from formula import COTANGENT, INPUT, noise
from onnx_torch import OnnxNet, Unsupported, check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--onnx", type=Path, required=True, help="the network")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--input", type=Path, help="input as .npy (default: the formula)")
    parser.add_argument("--cotangent", type=Path, help="cotangent of the output as .npy (default: the formula)")
    parser.add_argument("--batch", type=int, default=1, help="batch size of the formula's input (default: 1)")
    parser.add_argument("--shape", help="input shape such as 1,3,224,224, where the file leaves more than the batch open")
    parser.add_argument("--output", help="name of the output tensor to differentiate: an output, or any tensor (default: the first output)")
    parser.add_argument("--layer", help="name of an inner tensor: also writes it and the gradient with respect to it")
    parser.add_argument("--f64", action="store_true", help="also compute everything in f64")
    parser.add_argument("--threads", type=int, help="threads of PyTorch")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)

    try:
        net = OnnxNet(given.onnx)
        shape = [int(d) for d in given.shape.split(",")] if given.shape else [given.batch, *net.input_shape[1:]]
        x = np.load(given.input).astype(np.float32) if given.input else noise(int(np.prod(shape)), INPUT).reshape(shape)
        print(f"forward against onnxruntime: relative L2 {check(net, x):.1e}")
        name = given.output or net.output_names[0]
        taps = tuple(dict.fromkeys(t for t in (name, given.layer) if t and t not in net.output_names))
        cotangent = np.load(given.cotangent).astype(np.float32) if given.cotangent else None
        results = {}
        for kind in (torch.float32, torch.float64) if given.f64 else (torch.float32,):
            start = time.perf_counter()
            net = net.to(kind)
            leaf = torch.from_numpy(x).to(kind).requires_grad_()
            values = net(leaf, taps)
            output = values[name]
            if cotangent is None:
                cotangent = noise(output.numel(), COTANGENT).reshape(tuple(output.shape))
            if cotangent.shape != tuple(output.shape):
                sys.exit(f"error: the cotangent is {list(cotangent.shape)}, the output '{name}' is {list(output.shape)}")
            wrt = [leaf] + ([values[given.layer]] if given.layer else [])
            gradients = torch.autograd.grad((torch.from_numpy(cotangent).to(kind) * output).sum(), wrt)
            results[kind] = {"output": output.detach(), "input_gradient": gradients[0]}
            if given.layer:
                results[kind] |= {"layer": values[given.layer].detach(), "layer_gradient": gradients[1]}
            print(f"{str(kind).removeprefix('torch.')}: {time.perf_counter() - start:.2f} s")
    except Unsupported as problem:
        sys.exit(f"error: {problem}")

    given.out.mkdir(parents=True, exist_ok=True)
    np.save(given.out / "input.npy", x)
    np.save(given.out / "cotangent.npy", cotangent)
    for kind, tensors in results.items():
        folder = given.out if kind == torch.float32 else given.out / "f64"
        folder.mkdir(exist_ok=True)
        for key, tensor in tensors.items():
            np.save(folder / f"{key}.npy", tensor.numpy())
    for key, tensor in results[torch.float32].items():
        line = f"{key}: {list(tensor.shape)}, L2 {float(tensor.norm()):.6g}"
        if given.f64:
            exact = results[torch.float64][key]
            line += f", f32 against f64 {float((tensor.double() - exact).norm() / exact.norm()):.1e}"
        print(line)


if __name__ == "__main__":
    main()
