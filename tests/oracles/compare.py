"""Compares two folders of .npy files by name, in one table.

    python compare.py DIR_A DIR_B --tolerance 1e-4

Exit status: 0 if every pair is within the tolerance (relative L2, |a - b| / |b|), 1 if one is not, a file is missing
on either side, shapes differ or a value is not finite; 2 if nothing could be compared.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np


def load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False).astype(np.float64)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else math.nan  # a constant array correlates with nothing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, metavar="DIR_A")
    parser.add_argument("b", type=Path, metavar="DIR_B", help="the reference: relative L2 is over its norm")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest relative L2 accepted (default: 1e-4)")
    given = parser.parse_args()
    for folder in (given.a, given.b):
        if not folder.is_dir():
            print(f"error: {folder} is not a folder", file=sys.stderr)
            return 2
    names = [{str(p.relative_to(d)) for p in d.rglob("*.npy")} for d in (given.a, given.b)]
    if not names[0] | names[1]:
        print("error: neither folder holds a .npy file", file=sys.stderr)
        return 2

    width = max(map(len, names[0] | names[1]))
    print(f"{'file':<{width}}  relative L2  max abs diff    Pearson")
    good = True
    for name in sorted(names[0] | names[1]):
        if name not in names[0] or name not in names[1]:
            verdict = f"only in {given.b if name not in names[0] else given.a}"
        else:
            try:
                a, b = load(given.a / name), load(given.b / name)
            except (ValueError, OSError) as problem:
                a = b = None
                verdict = f"unreadable: {problem}"
            if a is None:
                pass
            elif a.shape != b.shape:
                verdict = f"shapes differ: {list(a.shape)} and {list(b.shape)}"
            elif not (np.isfinite(a).all() and np.isfinite(b).all()):
                verdict = "holds values that are not finite"
            elif a.size == 0:
                verdict = "empty"
            else:
                norm = float(np.linalg.norm(b))
                distance = float(np.linalg.norm(a - b))
                # Against a reference of zeros only equality will do.
                relative = distance / norm if norm > 0 else (0.0 if distance == 0 else math.inf)
                fine = relative <= given.tolerance
                print(f"{name:<{width}}  {relative:11.3e}  {float(np.abs(a - b).max()):12.3e}  {pearson(a, b):9.6f}{'' if fine else '  BEYOND'}")
                good &= fine
                continue
        good = False
        print(f"{name:<{width}}  {verdict}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
