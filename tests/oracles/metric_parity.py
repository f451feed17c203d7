"""fame's metrics beside PyPI quantus' and plain formulas, on the same maps of `models/shapes.onnx`.

    pip install quantus onnxruntime            # no PyTorch: quantus is asked through an onnxruntime model
    python metric_parity.py FAME_CLI           # runs a recipe, measures again, prints the table; exit 1 where they differ
    python metric_parity.py FAME_CLI --count 24

fame draws the shapes, explains them and measures; `metrics.csv`, the maps and the pictures are read back. Random draws are
made here as fame makes them (SplitMix64), so that both sides see the same sets and the same noise. Quantus takes single
values of the input for features, where fame takes pixels: so the input that Quantus alters is a mask of ones, of which 0
shows the filling. Where Quantus computes something else than the paper, the row says so, and the formula is written out here.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import scipy
from PIL import Image

warnings.filterwarnings("ignore")
import quantus  # noqa: E402

HERE = Path(__file__).resolve().parent
SHAPES = HERE.parents[1] / "models" / "shapes.onnx"
SIDE = 64
STEPS = 16
RUNS = 40
SUBSET = 224
SAMPLES = 4
RADIUS = 0.02
ROLE = "image"

# Largest difference, as a share of the largest value of the row (at least 1): sums of f32 in another order. A threshold
# metric counts whole pixels. Quotients by map values near zero (RIS, ROS) magnify rounding.
CLOSE, MAGNIFIED = 1e-5, 2e-3

RECIPE = """(
    model: "shapes",
    data: Shapes(count: {count}, seed: 3),
    explain: {{
        "occlusion": Occlusion(layer: "logits", loss: Logit(class: Label), window: 16, stride: 16),
        "saliency": Saliency(layer: "logits", loss: Logit(class: Label)),
        "noise": RandomMap(map: [GaussianBlur(kernel: 5, sigma: 1.0), MinMaxNormalize()]),
    }},
    metrics: [
        Sparseness(), Complexity(), EffectiveComplexity(least: 1e-5, {ask}),
        PixelFlipping(steps: {steps}, fill: Black, {ask}), RegionPerturbation(side: 8, regions: 64, by: Fill(Black), {ask}),
        Selectivity(side: 8, fill: Black, {ask}), Monotonicity(steps: {steps}, fill: Black, answer: Value, {ask}),
        FaithfulnessCorrelation(runs: {runs}, subset: {subset}, fill: Black, {ask}),
        MonotonicityCorrelation(steps: {steps}, samples: {samples}, answer: Value, {ask}),
        SaCo(groups: 8, fill: Black, answer: Value, {ask}), Infidelity(change: Noise(sigma: 0.1), samples: {runs}, {ask}),
        SensitivityN(percents: [5, 20], sets: {runs}, fill: Black, {ask}),
        Sensitivity(samples: {samples}, radius: {radius}),
        RelativeStability(samples: {samples}, radius: {radius}, layer: "logits"),
    ],
    write: [Npy(raw: true), Picture()],
)
"""


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


def seed_of(what: str) -> int:
    """The seed of run seed 0."""
    return int(hashlib.sha256(f"0/{what}".encode()).hexdigest()[:16], 16)


SESSION = onnxruntime.InferenceSession(SHAPES, providers=["CPUExecutionProvider"])
INPUT = SESSION.get_inputs()[0].name


def logits(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 0..=1, [N, 3, H, W]; one at a time, as the file may fix its batch."""
    x = ((pixels - 0.5) / 0.25).astype(np.float32)
    return np.concatenate([SESSION.run(["logits"], {INPUT: row[None]})[0] for row in x])


class Masked:
    """A model for Quantus: its input is a mask, 1 where the picture is seen and 0 where black is."""

    def __init__(self, picture: np.ndarray):
        self.picture = picture

    def predict(self, x, **_):
        return logits(np.asarray(x, dtype=np.float32).reshape(-1, 1, SIDE, SIDE) * self.picture[None])

    def shape_input(self, x, shape, **_):
        return np.asarray(x).reshape(-1, *shape[1:])


ARGSORT = np.argsort


def stable_argsort(a, axis=-1, **_):
    """In Quantus equals come in any order; in fame in reading order."""
    return ARGSORT(a, axis=axis, kind="stable")


def occlusion(pixels: np.ndarray, label: int) -> np.ndarray:
    """fame's Occlusion(window: 16, stride: 16): positive drops, the largest 1."""
    clean = logits(pixels[None])[0, label]
    drops = np.zeros((SIDE, SIDE), dtype=np.float32)
    for y in range(0, SIDE, 16):
        for x in range(0, SIDE, 16):
            copy = pixels.copy()
            copy[:, y : y + 16, x : x + 16] = 0.5
            drops[y : y + 16, x : x + 16] = clean - logits(copy[None])[0, label]
    drops = np.maximum(drops, 0)
    return drops / drops.max()


def options(metric, **given):
    return metric(disable_warnings=True, display_progressbar=False, abs=False, normalise=False, **given)


class Measured:
    """What Quantus and the formulas say of one map."""

    def __init__(self, item: str, picture: np.ndarray, label: int, map_: np.ndarray):
        self.item, self.picture, self.label, self.map = item, picture, label, map_
        self.flat = map_.ravel().astype(np.float64)
        self.clean = float(logits(picture[None])[0, label])
        self.out: dict[tuple[str, str], tuple[str, float]] = {}

    def say(self, metric: str, quantity: str, by: str, value: float):
        self.out[metric, quantity] = (by, float(value))

    def quantus(self, metric, a=None, **more):
        a = self.map if a is None else a
        given = dict(x_batch=np.ones((1, 1, SIDE, SIDE)), y_batch=np.array([self.label]), a_batch=a[None, None].astype(np.float64))
        return metric.evaluate_batch(model=Masked(self.picture), **given, **more)[0]

    def drops(self, sets: list[np.ndarray]) -> np.ndarray:
        """f(x) less f with each set of pixels black."""
        copies = np.repeat(self.picture[None], len(sets), axis=0)
        for copy, pixels in zip(copies, sets):
            copy.reshape(3, -1)[:, pixels] = 0
        return self.clean - logits(copies)[:, self.label]

    def all(self) -> dict:
        q, black = quantus, dict(perturb_baseline=0.0)
        self.say("Sparseness", "gini", "quantus", self.quantus(options(q.Sparseness)))
        self.say("Complexity", "entropy", "quantus", self.quantus(options(q.Complexity)))
        above = self.quantus(options(q.EffectiveComplexity, eps=1e-5)) / self.flat.size
        self.say("EffectiveComplexity", "above", "quantus", above)

        step = self.flat.size // STEPS
        flipping = options(q.PixelFlipping, features_in_step=step, **black)
        areas = {}
        for name, sign in [("morf", 1), ("lerf", -1)]:
            # The other order, ties reversed too, as fame takes it.
            answers = self.quantus(flipping, self.map if sign == 1 else self.reversed())
            areas[name] = np.mean([0.0, *(self.clean - np.array(answers))])
            self.say("PixelFlipping", f"{name}_aopc", "quantus (curve)", areas[name])
        self.say("PixelFlipping", "difference", "quantus (curve)", areas["morf"] - areas["lerf"])
        region = self.quantus(options(q.RegionPerturbation, patch_size=8, regions_evaluation=64, order="morf", **black))
        self.say("RegionPerturbation", "aopc", "quantus (curve)", np.mean([0.0, *region]))
        answers = [self.clean, *self.quantus(options(q.Selectivity, patch_size=8, **black))]
        self.say("Selectivity", "auc", "quantus (curve)", np.trapezoid(answers) / (len(answers) - 1))
        monotonic = self.quantus(options(q.Monotonicity, features_in_step=step, **black), self.map)
        self.say("Monotonicity", "monotonic", "quantus", monotonic)

        seed = seed_of(f"{self.item}/{ROLE}/faithfulness correlation")
        sets = [Stream(seed, n).set(SUBSET, self.flat.size) for n in range(RUNS)]
        drawn, choice = iter(sets), np.random.choice
        np.random.choice = lambda *_, **__: next(drawn)
        faithful = self.quantus(options(q.FaithfulnessCorrelation, nr_runs=RUNS, subset_size=SUBSET, **black))
        np.random.choice = choice
        self.say("FaithfulnessCorrelation", "correlation", "quantus", faithful)

        self.formulas()
        self.stability()
        return self.out

    def reversed(self) -> np.ndarray:
        """A map whose stable descending order is this one's, backwards."""
        order = ARGSORT(-self.flat, kind="stable")
        out = np.empty(self.flat.size)
        out[order] = np.arange(self.flat.size)
        return out.reshape(SIDE, SIDE)

    def formulas(self):
        order = ARGSORT(-self.flat, kind="stable")
        # Monotonicity correlation: Quantus perturbs input values where fame perturbs pixels, so the formula.
        parts = np.array_split(order, STEPS)
        seed = seed_of(f"{self.item}/{ROLE}/monotonicity correlation")
        uncertain = []
        for part, pixels in enumerate(parts):
            member, answers = np.zeros(self.flat.size, bool), []
            member[pixels] = True
            for sample in range(SAMPLES):
                stream, copy = Stream(seed, part * SAMPLES + sample), self.picture.copy().reshape(3, -1)
                for channel in copy:
                    channel[member] = [np.float32(stream.uniform()) for _ in range(len(pixels))]
                answers.append(logits(copy.reshape(1, 3, SIDE, SIDE))[0, self.label])
            uncertain.append(np.mean((np.array(answers) - self.clean) ** 2))
        sums = [self.flat[pixels].sum() for pixels in parts]
        self.say("MonotonicityCorrelation", "correlation", "formula", scipy.stats.spearmanr(sums, uncertain).statistic)
        # SaCo.
        groups = np.array_split(order, 8)
        sums, drops = [self.flat[g].sum() for g in groups], self.drops(groups)
        pairs = [(sums[i] - sums[j], drops[i] >= drops[j]) for i in range(8) for j in range(i + 1, 8)]
        total = sum(abs(w) for w, _ in pairs)
        self.say("SaCo", "saco", "formula", sum(w if good else -w for w, good in pairs) / total)
        # Infidelity: Quantus lets its blocks pile up, one perturbation on the other, which the paper does not.
        seed, foretold, copies = seed_of(f"{self.item}/{ROLE}/infidelity"), [], []
        for n in range(RUNS):
            change = (np.float32(0.1) * Stream(seed, n).normal(self.picture.size)).reshape(self.picture.shape)
            copies.append(self.picture - change)
            foretold.append(float((change.astype(np.float64) * self.map[None]).sum()))
        happened, h = self.clean - logits(np.array(copies))[:, self.label], np.array(foretold)
        self.say("Infidelity", "infidelity", "formula", np.mean((h - happened) ** 2))
        beta = (h * happened).sum() / (h * h).sum()
        self.say("Infidelity", "infidelity_scaled", "formula", np.mean((beta * h - happened) ** 2))
        # Sensitivity-n: Quantus takes the highest pixels step by step, the paper random sets of n.
        seed, found = seed_of(f"{self.item}/{ROLE}/sensitivity n"), []
        for at, percent in enumerate([5, 20]):
            size = int(percent / 100 * self.flat.size + 0.5)
            sets = [Stream(seed, at * RUNS + n).set(size, self.flat.size) for n in range(RUNS)]
            found.append(np.corrcoef([self.flat[s].sum() for s in sets], self.drops(sets))[0, 1])
        self.say("SensitivityN", "mean_correlation", "formula", np.mean(found))

    def stability(self):
        """Of the occlusion map alone, which is made again here."""
        if not self.is_occlusion():
            return
        seed, copies = seed_of(f"{self.item}/{ROLE}/again"), []
        for n in range(SAMPLES):
            stream = Stream(seed, n)
            uniform = np.array([np.float32(stream.uniform()) for _ in range(self.picture.size)], dtype=np.float32)
            noise = np.float32(RADIUS) * (np.float32(2) * uniform - np.float32(1))
            copies.append(np.clip(self.picture + noise.reshape(self.picture.shape), 0, 1))
        maps = [occlusion(copy, self.label) for copy in copies]
        x, a = self.picture[None].astype(np.float64), self.map[None, None].astype(np.float64)
        model = Masked(self.picture)
        model.predict = logits
        for name, metric in [("max_sensitivity", quantus.MaxSensitivity), ("avg_sensitivity", quantus.AvgSensitivity)]:
            made, waiting = options(metric, nr_samples=SAMPLES), iter(range(SAMPLES))
            made.perturb_func = lambda arr, **_: copies[next(waiting)].reshape(1, -1)
            drawn = iter(maps)
            made.explain_batch = lambda *_, **__: next(drawn)[None, None]
            value = made.evaluate_batch(model=model, x_batch=x, y_batch=np.array([self.label]), a_batch=a.copy())[0]
            self.say("Sensitivity", name, "quantus", value)
        same = [logits(c[None])[0].argmax() == logits(self.picture[None])[0].argmax() for c in copies]
        ris, ros = options(quantus.RelativeInputStability), options(quantus.RelativeOutputStability)
        normal = lambda p: (np.asarray(p, dtype=np.float64)[None] - 0.5) / 0.25  # noqa: E731
        kept = [(c, m[None, None].astype(np.float64)) for c, m, is_same in zip(copies, maps, same) if is_same]
        if kept:
            inputs = [ris.relative_input_stability_objective(normal(self.picture), normal(c), a, m)[0] for c, m in kept]
            outputs = [logits(c[None]).astype(np.float64) for c, _ in kept]
            clean = logits(self.picture[None]).astype(np.float64)
            outs = [ros.relative_output_stability_objective(clean, h, a, m)[0] for h, (_, m) in zip(outputs, kept)]
            self.say("RelativeStability", "ris", "quantus", max(inputs))
            self.say("RelativeStability", "ros", "quantus", max(outs))

    def is_occlusion(self) -> bool:
        return np.allclose(self.map, occlusion(self.picture, self.label), atol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fame_cli")
    parser.add_argument("--count", type=int, default=3, help="pictures")
    given = parser.parse_args()
    np.argsort = stable_argsort
    ask = 'layer: "logits", loss: Logit(class: Label)'
    with tempfile.TemporaryDirectory() as folder:
        recipe, out = Path(folder) / "parity.ron", Path(folder) / "out"
        text = RECIPE.format(count=given.count, ask=ask, steps=STEPS, runs=RUNS, subset=SUBSET, samples=SAMPLES, radius=RADIUS)
        recipe.write_text(text)
        subprocess.run([given.fame_cli, "run", recipe, "--out", out], check=True, stdout=subprocess.DEVNULL)
        ours = {}
        for row in csv.DictReader((out / "metrics.csv").open()):
            if not row["parameter"]:
                ours[row["item"], row["explainer"], row["metric"], row["quantity"]] = float(row["value"])
        table: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for item in sorted({key[0] for key in ours}):
            place = out / "items" / item
            picture = np.asarray(Image.open(place / f"{ROLE}.png").convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
            label = int(json.loads((place / "item.json").read_text())["label"])
            for file in sorted(place.glob("*.npy")):
                if file.name.endswith(".raw.npy"):
                    continue
                explainer = file.name.split(".")[0]
                said = Measured(item, picture, label, np.load(file)).all()
                for (metric, quantity), (by, theirs) in said.items():
                    mine = ours.get((item, explainer, metric, quantity))
                    if mine is None:
                        sys.exit(f"fame has no {metric} {quantity} of {explainer} for {item}")
                    table.setdefault((metric, quantity, by), []).append((mine, theirs))
    print(f"fame beside quantus {quantus.__version__} (numpy {np.__version__}, scipy {scipy.__version__}, onnxruntime {onnxruntime.__version__}), "
          f"{given.count} drawn shapes, maps of Occlusion, Saliency and blurred noise\n")  # fmt: skip
    print("| metric | quantity | held to | maps | largest difference | correlation |\n| --- | --- | --- | --- | --- | --- |")
    wrong = []
    for (metric, quantity, by), pairs in table.items():
        mine, theirs = np.array(pairs).T
        apart = np.abs(mine - theirs).max() / max(1.0, np.abs(theirs).max())
        alike = np.corrcoef(mine, theirs)[0, 1] if np.ptp(theirs) > 0 else float(apart <= CLOSE)
        print(f"| {metric} | {quantity} | {by} | {len(pairs)} | {apart:.1e} | {alike:.6f} |")
        allowed = MAGNIFIED if metric == "RelativeStability" else CLOSE
        if not apart <= allowed:
            wrong.append(f"{metric} {quantity}")
    if wrong:
        sys.exit("DIFFERENT: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
