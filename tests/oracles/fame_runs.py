"""fame-cli asked from Python: a network's manifest, a recipe, the maps that come back; fame's random numbers; versions.

What `method_parity.py` and `metric_parity.py` share. Nothing here knows a method or a metric.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]


class Stream:
    """fame's random numbers: SplitMix64."""

    MASK = (1 << 64) - 1

    def __init__(self, seed: int, n: int | None = None):
        self.state = seed & self.MASK
        if n is not None:
            self.state = Stream(seed ^ (n * 0xD605BBB58C8ABC03 & self.MASK)).next()

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def uniform(self) -> float:
        return (self.next() >> 11) / (1 << 53)

    def below(self, n: int) -> int:
        return (self.next() * n) >> 64

    def normal(self, count: int) -> np.ndarray:
        out = []
        while len(out) < count:
            radius = np.sqrt(-2.0 * np.log(1.0 - self.uniform()))
            angle = 2.0 * np.pi * self.uniform()
            out += [radius * np.cos(angle), radius * np.sin(angle)]
        return np.array(out[:count], dtype=np.float32)

    def set(self, count: int, n: int) -> np.ndarray:
        order = list(range(n))
        for k in range(min(count, n)):
            at = k + self.below(n - k)
            order[k], order[at] = order[at], order[k]
        return np.array(order[:count])

    def shuffle(self, values: list) -> list:
        for last in range(len(values) - 1, 0, -1):
            at = self.below(last + 1)
            values[last], values[at] = values[at], values[last]
        return values


def seed_of(what: str, run: int = 0) -> int:
    """The seed of `what` in the run whose seed is `run`."""
    return int(hashlib.sha256(f"{run}/{what}".encode()).hexdigest()[:16], 16)


def answer(fame_cli: str, *arguments: str | Path) -> str:
    """What fame-cli prints; what it complains of, if it fails, is the error."""
    done = subprocess.run([fame_cli, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, [fame_cli, *arguments]))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def plugins(fame_cli: str, kind: str) -> list[str]:
    """The names of every `explainer`, `metric`, … that this fame-cli has."""
    return re.findall(r"^## (\w+)$", answer(fame_cli, "describe", kind, "--markdown"), re.M)


def versions(fame_cli: str, *packages: str) -> str:
    """fame-cli's version and those of PyPI packages, for the line under a table."""
    return ", ".join([answer(fame_cli, "--version").strip(), *(f"{name} {version(name)}" for name in packages)])


def without_reference(names: list[str], elsewhere: dict[str, tuple[str, ...]]) -> list[str]:
    """A line for each of `names`: how it is held and in which files, with the test, `FILE::TEST`, where a file
    does not name what it holds. Stops where a file holds nothing of it."""
    lines = []
    for name in names:
        how, *files = elsewhere[name]
        for file in files:
            path, _, test = file.partition("::")
            text = (REPOSITORY / path).read_text()
            if not re.search(rf"\b{test or name}\b", text) or not re.search(r"#\[test\]|mod tests;", text):
                raise SystemExit(f"{path} holds no test of {name}")
        lines.append(f"without a reference implementation: {name} – held to {how} in {' and '.join(files)}")
    return lines


def save_picture(pixels: np.ndarray, path: Path) -> None:
    """`pixels` [3, H, W], RGB in 0..=1 and multiples of 1/255, so that nothing is lost."""
    whole = np.rint(pixels * 255)
    assert np.abs(whole - pixels * 255).max() < 1e-3, "the file would hold another picture"
    Image.fromarray(whole.astype(np.uint8).transpose(1, 2, 0)).save(path)


@dataclass
class Feeding:
    """How a network is fed and what it is asked, as fame's manifest says it."""

    size: int
    mean: list[float]
    std: list[float]
    layer: str = "logits"
    order: str = "Rgb"
    loss: str = "Logit()"

    def write(self, network: Path) -> Path:
        """The manifest of an ONNX file, beside it."""
        numbers = lambda values: "(" + ", ".join(str(float(v)) for v in values) + ")"  # noqa: E731
        manifest = network.with_suffix(".ron")
        manifest.write_text(
            f'(ask: (loss: {self.loss}, layer: "{self.layer}"), prepare: [], layers: {{}},\n input: (size: (3, {self.size}, {self.size}),'
            f" order: {self.order}, mean: {numbers(self.mean)}, std: {numbers(self.std)}))\n"
        )
        return manifest


@dataclass
class Map:
    """A map that fame wrote: its finished form [H, W], what is behind it [C, H, W], and its facts."""

    name: str
    finished: np.ndarray
    raw: np.ndarray
    facts: dict


def maps(fame_cli: str, manifest: Path, data: str, explainers: dict[str, str], folder: Path) -> dict[str, list[Map]]:
    """Runs a recipe over one item, and for each explainer the maps it made, in its order; none where it has no map."""
    folder.mkdir()
    rows = ",\n".join(f'        "{name}": {spec}' for name, spec in explainers.items())
    recipe = folder / "recipe.ron"
    recipe.write_text(f'(\n    model: "{manifest}",\n    preset: Authors,\n    data: {data},\n    explain: {{\n{rows},\n    }},\n    write: [Npy(raw: true)],\n)\n')
    answer(fame_cli, "run", recipe, "--out", folder / "out")
    (place,) = (folder / "out" / "items").iterdir()
    item = json.loads((place / "item.json").read_text())
    out = {}
    for name in explainers:
        facts = item["explanations"][name]["maps"]
        read = lambda m, form: np.load(place / f"{name}.{m['name']}{form}.npy")  # noqa: E731
        out[name] = [Map(m["name"], read(m, ""), read(m, ".raw"), m) for m in facts]
    return out
