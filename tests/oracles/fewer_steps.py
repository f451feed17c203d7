"""What fewer steps lose: maps of short walks beside those of a long one, in rank and in what metrics say.

    python fewer_steps.py OUT --long fame:500
    python fewer_steps.py OUT --long long_plus:500 --long long_minus:500

OUT is a run with `Npy()` among its writers; the long walk is an explainer of it, with the number of steps where it was read on its way
(`read_at`). Every other map of the same picture that is about the same is compared with it: Spearman of the finished maps (mean, 5th
percentile, least), and for every quantity of metrics.csv the mean difference of the pair, with the 95 % bootstrap interval of that mean.
Explainers whose names begin with `random` are left out.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

READ = re.compile(r"_steps_0*(\d+)$")
RESAMPLES = 10_000


def walk(explainer: str, name: str) -> tuple[str, str]:
    """The walk that a map is of, as `--long` names it, and the map's name without the number of steps."""
    read = READ.search(name)
    return (f"{explainer}:{read[1]}" if read else explainer), READ.sub("", name)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties averaged."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def maps(out: Path) -> dict[str, dict[tuple[str, str], Path]]:
    """The finished maps of a run by walk, then by item and name."""
    found: dict[str, dict[tuple[str, str], Path]] = defaultdict(dict)
    for file in sorted(out.glob("items/*/*.npy")):
        if file.name.endswith(".raw.npy") or file.name.startswith("random"):
            continue
        explainer, name = file.name.removesuffix(".npy").split(".", 1)
        which, name = walk(explainer, name)
        found[which][file.parent.name, name] = file
    return found


def measured(out: Path) -> dict[tuple[str, ...], dict[str, dict[tuple[str, str], float]]]:
    """What was measured by quantity, then by walk, then by item and map."""
    found: dict[tuple[str, ...], dict[str, dict[tuple[str, str], float]]] = defaultdict(lambda: defaultdict(dict))
    if not (out / "metrics.csv").is_file():
        return found
    with (out / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            which, name = walk(row["explainer"], row["map"])
            if row["value"]:
                found[row["metric"], row["quantity"], row["parameter"]][which][row["item"], name] = float(row["value"])
    return found


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of a mean."""
    random = np.random.default_rng(0)
    means = random.choice(differences, (RESAMPLES, len(differences))).mean(1)
    return tuple(np.percentile(means, [2.5, 97.5]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--long", action="append", required=True, metavar="EXPLAINER[:STEPS]")
    args = parser.parse_args()
    all_maps, quantities = maps(args.out), measured(args.out)
    for long in args.long:
        if long not in all_maps:
            parser.error(f"no map of `{long}` in {args.out}: there are {', '.join(all_maps)}.")
        print(f"\n{long}\n  Spearman: walk, maps, mean, 5th percentile, least")
        for which, found in all_maps.items():
            common = [key for key in found if key in all_maps[long]]
            if which == long or not common:
                continue
            ranks = [spearman(np.load(found[key]).ravel(), np.load(all_maps[long][key]).ravel()) for key in common]
            print(f"  {which:24} {len(ranks):4} {np.mean(ranks):.3f} {np.percentile(ranks, 5):.3f} {min(ranks):.3f}")
        for quantity, by_walk in quantities.items():
            if long not in by_walk:
                continue
            named = " ".join(part for part in quantity if part)
            print(f"  {named}: {long} {np.mean(list(by_walk[long].values())):.4f}; walk, maps, mean difference, interval")
            for which, values in by_walk.items():
                common = [key for key in values if key in by_walk[long]]
                if which == long or len(common) < 2 or which.startswith("random"):
                    continue
                apart = np.array([values[key] - by_walk[long][key] for key in common])
                low, high = interval(apart)
                print(f"    {which:22} {len(common):4} {apart.mean():+.4f} {low:+.4f} {high:+.4f}")


if __name__ == "__main__":
    main()
