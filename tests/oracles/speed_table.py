"""The speed table: a LOTS step in fame's engines and in eager PyTorch, taken in turns in one session.

    cargo bench -p fame-plugins --features tch --bench lots_step --no-run       # prints the program's path
    python speed_table.py --bench ../../target/release/deps/lots_step-HASH --models DIR --json speed.json

DIR holds fr_feature.onnx, resnet50.onnx and iresnet50.onnx (one row each; models/exporters/zoo.py writes the last two). For every network, batch and number of
threads the engines and PyTorch run right after one another, so that what else the machine does meets all of them. Wall times are medians, CPU times means over
the same steps, all threads added up; both per step of the whole batch.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench_torch import numbers

HERE = Path(__file__).resolve().parent
NETS = ("fr_feature", "resnet50", "iresnet50")
ENGINES = {
    "cpu": ("tract", "tch f32", "tch bf16", "PyTorch"),
    "cuda": ("cuda f32", "cuda tf32", "cuda bf16", "PyTorch", "PyTorch tf32"),
}


def ours(bench: Path, file: Path, batch: int, threads: int, device: str) -> list[dict]:
    """What lots_step prints for every engine compiled into it."""
    told = subprocess.run(
        [bench, file, "", str(batch), str(threads)], capture_output=True, text=True,
        env={**os.environ, "LOTS_JSON": "1", "LOTS_ENGINES": device, "OMP_NUM_THREADS": str(threads)},
    )  # fmt: skip
    rows = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    if told.returncode or not rows:
        sys.exit(f"error: {bench} on {file} failed: {told.stdout}{told.stderr}")
    return rows


def pytorch(models: Path, net: str, batch: int, threads: int, repeats: int, device: str, tf32: bool) -> dict:
    command = [sys.executable, str(HERE / "bench_torch.py"), "--child", "--nets", net, "--threads", str(threads), "--batches", str(batch)]
    command += ["--repeats", str(repeats), "--models", str(models), "--device", device] + (["--tf32"] if tf32 else [])
    told = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    if told.returncode:
        sys.exit(f"error: PyTorch on {net} failed with status {told.returncode}")
    return {**json.loads(told.stdout)[0], "engine": "PyTorch tf32" if tf32 else "PyTorch"}


def wall(row: dict) -> str:
    """Wall time of a step on the host; in brackets that of the same step on the device, where pictures stay there."""
    device = row.get("device_step_ms")
    return f"{row['step_ms']:.1f}" + (f" ({device:.1f})" if device else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True, help="the compiled benchmark lots_step, release, feature tch")
    parser.add_argument("--models", type=Path, required=True, help="folder of the ONNX files")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), help="which networks (default: all)")
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="numbers of threads (default: 1,2)")
    parser.add_argument("--batches", type=numbers, default=[1, 4], help="batch sizes (default: 1,4)")
    parser.add_argument("--repeats", type=int, default=9, help="timed steps of PyTorch (default: 9)")
    parser.add_argument("--device", choices=list(ENGINES), default="cpu", help="which engines: those of the CPU or those of the first CUDA device (default: cpu)")
    parser.add_argument("--json", type=Path, help="also write every number here")
    given = parser.parse_args()
    engines = ENGINES[given.device]
    print(f"load before: {os.getloadavg()[0]:.1f}\n")
    print("| network | batch | threads |" + "".join(f" {name}, ms: wall | CPU |" for name in engines))
    print("| --- " * (3 + 2 * len(engines)) + "|", flush=True)
    everything = []
    for net in given.nets:
        for batch in given.batches:
            for threads in given.threads:
                rows = ours(given.bench, given.models / f"{net}.onnx", batch, threads, given.device)
                roundings = [False] if given.device == "cpu" else [False, True]
                rows += [pytorch(given.models, net, batch, threads, given.repeats, given.device, tf32) for tf32 in roundings]
                everything += [{**row, "net": net, "batch": batch, "load": os.getloadavg()[0]} for row in rows]
                by = {row["engine"]: row for row in rows}
                cells = (f" {wall(by[e])} | {by[e]['step_cpu_ms']:.1f} |" if e in by else " | |" for e in engines)
                print(f"| {net} | {batch} | {threads} |" + "".join(cells), flush=True)
    print(f"\nload after: {os.getloadavg()[0]:.1f}")
    if given.json:
        given.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
