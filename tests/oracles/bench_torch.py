"""Times eager PyTorch on what fame does in its loop: forward, input gradient, one LOTS step.

    python bench_torch.py --models DIR --json bench.json
    python bench_torch.py --nets resnet50 --threads 1 --batches 1

A step is: y = f(x); g = d(sum(cotangent * y)) / dx; x <- x - eta * g / max|g| (per sample). Weights require no
gradient. Modules are the original architectures in f32, NCHW, as PyTorch users write them, or with --channels-last in that
order of memory; `fr_feature` is its ONNX file node by node. Wall time, median of the repeats after a warm-up. Threads are set once per process, so each number of threads
runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path


def numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of positive numbers such as 1,2")
    return found


def measure(given: argparse.Namespace, threads: int) -> list[dict]:
    import torch

    from formula import COTANGENT, INPUT, noise
    from modules import MODULES

    torch.set_num_threads(threads)
    # f32 means f32, as in fame: PyTorch's default rounds the operands of convolutions to TF32.
    torch.backends.cudnn.allow_tf32 = given.tf32
    torch.backends.cuda.matmul.allow_tf32 = given.tf32
    wait = torch.cuda.synchronize if given.device == "cuda" else lambda: None
    rows = []
    for name in given.nets:
        make, side = MODULES[name]
        model = make(given.models, None).eval().requires_grad_(False).to(given.device)
        for batch in given.batches:
            if name == "fr_feature" and batch > 1:
                # Its Reshape to [1, -1] fixes the batch; written as [-1, 512] it means the same for every batch.
                for key, value in model.net.integers.items():
                    if value.tolist() == [1, -1]:
                        model.net.integers[key] = torch.tensor([0, -1])
            x = torch.from_numpy(noise(batch * 3 * side * side, INPUT).reshape(batch, 3, side, side)).to(given.device)
            if given.channels_last:
                model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
            if given.bf16:
                # Weights and activations; pictures, and what the walk adds to them, stay f32.
                half, model = model.to(torch.bfloat16), lambda x: half(x.to(torch.bfloat16)).float()
            with torch.no_grad():
                y = model(x)
            cotangent = torch.from_numpy(noise(y.numel(), COTANGENT).reshape(tuple(y.shape))).to(given.device)

            def step(x: torch.Tensor) -> torch.Tensor:
                leaf = x.detach().requires_grad_()
                gradient = torch.autograd.grad((cotangent * model(leaf)).sum(), leaf)[0]
                return x - given.eta * gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)

            for _ in range(given.warmup):
                x = step(x)
            wait()
            times = []
            busy = time.process_time()
            for _ in range(given.repeats):
                start = time.perf_counter()
                x = step(x)
                wait()
                times.append(1000 * (time.perf_counter() - start))
            busy = 1000 * (time.process_time() - busy) / given.repeats
            forward = []
            with torch.no_grad():
                model(x)
                wait()
                for _ in range(given.repeats):
                    start = time.perf_counter()
                    model(x)
                    wait()
                    forward.append(1000 * (time.perf_counter() - start))
            assert bool(torch.isfinite(x).all()), f"{name}: the walk left the finite numbers"
            middle = statistics.median(times)
            rows.append({
                "net": name, "threads": threads, "batch": batch, "step_ms": middle, "step_cpu_ms": busy, "step_ms_per_image": middle / batch, "step_ms_min": min(times),
                "step_ms_max": max(times), "forward_ms": statistics.median(forward), "repeats": given.repeats,
            })  # fmt: skip
    return rows


def main() -> None:
    nets = ["fr_feature", "resnet50", "iresnet50", "efficientnet_lite0", "vgg19", "convnext_tiny", "vit_tiny"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=nets, default=nets, help="which networks (default: all)")
    parser.add_argument("--models", type=Path, help="folder of fr_feature.onnx")
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="numbers of threads (default: 1,2)")
    parser.add_argument("--batches", type=numbers, default=[1, 2, 4], help="batch sizes (default: 1,2,4)")
    parser.add_argument("--repeats", type=int, default=9, help="timed steps, at least 7 for a number to report (default: 9)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts (default: 3)")
    parser.add_argument("--eta", type=float, default=1 / 255, help="step size (default: 1/255)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where PyTorch computes (default: cpu)")
    parser.add_argument("--tf32", action="store_true", help="let a CUDA device round f32 operands to TensorFloat-32")
    parser.add_argument("--channels-last", action="store_true", help="weights and pictures in PyTorch's memory format channels_last")
    parser.add_argument("--bf16", action="store_true", help="weights and activations in bfloat16, on a CPU with AMX by its matrix registers")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.repeats < 1 or given.warmup < 0:
        parser.error("--repeats must be at least 1 and --warmup at least 0")
    if "fr_feature" in given.nets and not (given.models and (given.models / "fr_feature.onnx").is_file()):
        parser.error("fr_feature needs --models, the folder of fr_feature.onnx")
    if given.child:
        print(json.dumps(measure(given, given.threads[0])))
        return

    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"note: the load is {load:.1f}; other work on this machine makes these times too long", file=sys.stderr)
    rows = []
    print("| network | threads | batch | step, ms | per image, ms | fastest, slowest | forward, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for threads in given.threads:
        for net in given.nets:
            command = [sys.executable, __file__, "--child", "--nets", net, "--threads", str(threads), "--batches", ",".join(map(str, given.batches))]
            command += ["--repeats", str(given.repeats), "--warmup", str(given.warmup), "--eta", str(given.eta)]
            command += ["--models", str(given.models)] if given.models else []
            command += ["--device", given.device] + (["--tf32"] if given.tf32 else []) + (["--channels-last"] if given.channels_last else [])
            command += ["--bf16"] if given.bf16 else []
            child = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
            if child.returncode:
                sys.exit(f"error: measuring {net} failed with status {child.returncode}")
            for row in json.loads(child.stdout):
                rows.append(row)
                print(
                    f"| {row['net']} | {row['threads']} | {row['batch']} | {row['step_ms']:.1f} | {row['step_ms_per_image']:.1f} |"
                    f" {row['step_ms_min']:.1f}, {row['step_ms_max']:.1f} | {row['forward_ms']:.1f} |",
                    flush=True,
                )
    if given.json:
        import torch

        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_at_start": load, "torch": torch.__version__}
        given.json.write_text(json.dumps({"machine": machine, "eta": given.eta, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
