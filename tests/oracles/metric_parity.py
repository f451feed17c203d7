"""Every metric of fame beside PyPI quantus', captum's, krippendorff's and plain formulas, on the same maps of
`models/shapes.onnx`: one table, and what has no reference.

    pip install -r requirements.txt
    python metric_parity.py FAME_CLI           # exit 1 where they differ, or a metric is left out without a word
    python metric_parity.py FAME_CLI --count 24

fame draws the shapes, explains them and measures; `metrics.csv`, the maps and the pictures are read back. Random draws are
made here as fame makes them (SplitMix64), so that both sides see the same sets and the same noise. Quantus takes single
values of the input for features, where fame takes pixels: so the input that Quantus alters is a mask of ones, of which 0
shows the filling; the network itself is asked by onnxruntime. Where no package computes what the paper says, the formula
is written out here, and the row says so.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import platform
import re
import sys
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

import captum.metrics as cm
import krippendorff
import numpy as np
import onnxruntime
import scipy
import torch
from fame_runs import Stream, answer, plugins, seed_of, versions, without_reference
from PIL import Image

warnings.filterwarnings("ignore")
import quantus  # noqa: E402
from quantus.functions.perturb_func import noisy_linear_imputation  # noqa: E402

HERE = Path(__file__).resolve().parent
SHAPES = HERE.parents[1] / "models" / "shapes.onnx"
SIDE = 64
STEPS = 16
RUNS = 40
SUBSET = 224
SAMPLES = 4
RADIUS = 0.02
ROLE = "image"

PERCENTS = (10, 30)
CUTS = (0.3, 0.5)

# The largest difference, as a share of the largest value of the row (at least 1), and why it is not smaller.
TOLERANCES = {
    "close": (1e-5, "both sides sum f32 in another order"),
    "magnified": (2e-3, "quotients by map values near zero magnify rounding"),
    "written": (1e-6, "the run's table has six decimals"),
}
# Of other metrics: close.
TOLERANCE_OF = {"RelativeStability": "magnified", "tables/reliability": "written"}

# Where metrics are held that no package has in this form: whether to a formula or to properties, and where.
ELSEWHERE = {
    "ByGroup": ("properties", "fame-plugins/src/metrics/by_group.rs"),
    "Decisions": ("properties", "fame-plugins/src/metrics/verification/decisions.rs"),
    "DetectionDeletion": ("properties", "tests/third-party/fame-detection/src/metrics/detection_deletion.rs"),
    "DetectionEnergy": ("properties", "tests/third-party/fame-detection/src/metrics/detection_energy.rs"),
    "DetectionPointing": ("properties", "tests/third-party/fame-detection/src/metrics/detection_pointing.rs"),
    "InpaintingGame": ("properties", "fame-plugins/src/metrics/inpainting_game.rs"),
    "MapStability": ("properties", "fame-plugins/src/metrics/map_stability.rs"),
    "Regions": ("properties", "fame-plugins/src/metrics/regions.rs"),
    "Verification": (
        "properties",
        "tests/tests/metric_properties.rs",
        "fame-plugins/src/metrics/verification/threshold.rs::the_eer_is_that_of_a_search_over_all_thresholds",
    ),
}

RECIPE = """(
    model: "shapes",
    data: ImageList(list: "{list}"),
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
        PointingGame(), RelevanceMass(), Iou(thresholds: {cuts}), MapSimilarity(to: "occlusion"),
        Road(percents: {percents}, orders: [MoRF, LeRF], {ask}),
        DeletionInsertion(steps: {steps}, answer: Value, delete_to: Black, insert_from: Black, {ask}),
    ],
    write: [Npy(raw: true), Picture()],
)
"""


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


def asked(x: torch.Tensor) -> torch.Tensor:
    """The network for captum."""
    return torch.from_numpy(logits(x.numpy()))


def options(metric, **given):
    # Quantus prints a warning about `abs`, whatever is disabled; where it takes the size of a value, the order changes.
    with contextlib.redirect_stdout(io.StringIO()):
        return metric(disable_warnings=True, display_progressbar=False, abs=False, normalise=False, **given)


class Measured:
    """What Quantus and the formulas say of one map."""

    def __init__(self, item: str, picture: np.ndarray, label: int, map_: np.ndarray, inside: np.ndarray, occluded: np.ndarray):
        self.item, self.picture, self.label, self.map, self.inside, self.occluded = item, picture, label, map_, inside, occluded
        self.flat = map_.ravel().astype(np.float64)
        self.clean = float(logits(picture[None])[0, label])
        self.out: dict[tuple[str, str, str, str], float] = {}

    def say(self, metric: str, quantity: str, by: str, value: float, parameter: str = ""):
        self.out[metric, quantity, by, parameter] = float(value)

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
        seed = seed_of(f"{self.item}/{ROLE}/faithfulness correlation")
        sets = [Stream(seed, n).set(SUBSET, self.flat.size) for n in range(RUNS)]
        drawn, choice = iter(sets), np.random.choice
        np.random.choice = lambda *_, **__: next(drawn)
        faithful = self.quantus(options(q.FaithfulnessCorrelation, nr_runs=RUNS, subset_size=SUBSET, **black))
        np.random.choice = choice
        self.say("FaithfulnessCorrelation", "correlation", "quantus", faithful)

        self.formulas()
        self.removal()
        self.boxes()
        self.captum()
        self.similarity()
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
        # Monotonicity: Quantus 0.6.0 puts the filling where it should show the picture, asks of the filling alone each time,
        # and finds every map monotonic.
        shown = [self.flat.size * (k + 1) // STEPS for k in range(STEPS)]
        copies = np.array([self.picture * (np.isin(np.arange(self.flat.size), order[::-1][:n])).reshape(SIDE, SIDE) for n in shown])
        rises = np.diff(logits(copies)[:, self.label]) >= 0
        self.say("Monotonicity", "monotonic", "formula", rises.all())
        self.say("Monotonicity", "rising", "formula", rises.mean())
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

    def removal(self):
        """ROAD by Quantus' imputation with fame's noise, and RISE's deletion and insertion by the formula."""
        order = {"morf": ARGSORT(-self.flat, kind="stable"), "lerf": ARGSORT(self.flat, kind="stable")}
        seed, drops, job = seed_of(f"{self.item}/{ROLE}/road"), {}, 0
        for which in ("morf", "lerf"):
            for percent in PERCENTS:
                away = np.sort(order[which][: int(percent / 100 * self.flat.size + 0.5)])
                stream = Stream(seed, job)
                drawn = np.stack([stream.normal(len(away)) for _ in range(3)])
                random, np.random.randn = np.random.randn, lambda *_, drawn=drawn: drawn
                imputed = noisy_linear_imputation(self.picture.astype(np.float64), away)
                np.random.randn = random
                drops[which, percent] = self.clean - logits(imputed[None])[0, self.label]
                self.say("Road", f"{which}_drop", "quantus (imputation)", drops[which, percent], f"P={percent}")
                job += 1
        for percent in PERCENTS:
            self.say("Road", "combined", "quantus (imputation)", (drops["morf", percent] - drops["lerf", percent]) / 2, f"P={percent}")
        copies = []
        for is_deletion in (True, False):
            for step in range(STEPS + 1):
                is_top = np.zeros(self.flat.size, bool)
                is_top[order["morf"][: int(step / STEPS * self.flat.size + 0.5)]] = True
                copies.append(self.picture * ~(is_top == is_deletion).reshape(SIDE, SIDE))
        answers = logits(np.array(copies))[:, self.label].astype(np.float64).reshape(2, -1)
        for name, curve in zip(("deletion_auc", "insertion_auc"), answers):
            self.say("DeletionInsertion", name, "formula", np.trapezoid(curve) / STEPS)
        seen = float(logits((self.picture * self.map)[None])[0, self.label])
        if self.clean > 0:
            self.say("DeletionInsertion", "average_drop", "formula", np.clip((self.clean - seen) / self.clean, 0, 1))
        self.say("DeletionInsertion", "increase", "formula", seen > self.clean)

    def boxes(self):
        """Where the true box is known."""
        box, a = self.inside[None, None], self.map[None, None].astype(np.float64)
        # Finished maps have no values below zero, so `abs` changes nothing but Quantus' warnings.
        made = dict(abs=True, normalise=False, disable_warnings=True, display_progressbar=False)
        ask = lambda metric, of: metric(**made).evaluate_batch(a_batch=of, s_batch=box)[0]  # noqa: E731
        # Of equal maxima Quantus takes any that hits, fame the first in reading order.
        first = a.copy()
        first.reshape(-1)[a.argmax()] += 1
        self.say("PointingGame", "hit", "quantus (first of equals)", ask(quantus.PointingGame, first))
        self.say("RelevanceMass", "mass", "quantus", ask(quantus.RelevanceMassAccuracy, a))
        self.say("RelevanceMass", "rank", "quantus", ask(quantus.RelevanceRankAccuracy, a))
        self.say("RelevanceMass", "area", "formula", self.inside.mean())
        for cut in CUTS:
            above = self.map >= np.float32(cut)
            self.say("Iou", "iou", "formula", (above & self.inside).sum() / (above | self.inside).sum(), f"at={cut}")

    def captum(self):
        """Infidelity, plain and scaled, over fame's noise: the map stands for every channel."""
        seed = seed_of(f"{self.item}/{ROLE}/infidelity")
        drawn = [(np.float32(0.1) * Stream(seed, n).normal(self.picture.size)).reshape(self.picture.shape) for n in range(RUNS)]
        changes = torch.from_numpy(np.array(drawn))
        x = torch.from_numpy(self.picture[None])
        a = torch.from_numpy(np.repeat(self.map[None, None], 3, axis=1))
        for quantity, scaled in (("infidelity", False), ("infidelity_scaled", True)):
            value = cm.infidelity(asked, lambda given: (changes, given - changes), x, a, target=self.label, n_perturb_samples=RUNS,
                                  max_examples_per_batch=RUNS, normalize=scaled)  # fmt: skip
            self.say("Infidelity", quantity, "captum", value.item())

    def similarity(self):
        if np.array_equal(self.map, self.occluded):
            return
        a, b = self.occluded.astype(np.float64), self.map.astype(np.float64)
        self.say("MapSimilarity", "spearman", "scipy", scipy.stats.spearmanr(a.ravel(), b.ravel()).statistic)
        self.say("MapSimilarity", "pearson", "scipy", scipy.stats.pearsonr(a.ravel(), b.ravel()).statistic)
        # scikit-image repeats the edge where fame mirrors without it, and leaves a border out of the mean: so the formula.
        taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
        smooth = lambda m: scipy.ndimage.correlate1d(scipy.ndimage.correlate1d(m, taps / taps.sum(), 0, mode="mirror"), taps / taps.sum(), 1, mode="mirror")  # noqa: E731, E501
        ma, mb = smooth(a), smooth(b)
        va, vb, both = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
        ssim = ((2 * ma * mb + 0.01**2) * (2 * both + 0.03**2)) / ((ma**2 + mb**2 + 0.01**2) * (va + vb + 0.03**2))
        self.say("MapSimilarity", "ssim", "formula", ssim.mean())

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
        stacked = torch.from_numpy(np.array(copies, dtype=np.float32))

        def explain(given):
            # A tuple of one, as Captum's own methods return for a tuple: of a bare tensor it makes one map for each picture.
            (pictures,) = given if isinstance(given, tuple) else (given,)
            return (torch.from_numpy(np.array([occlusion(one, self.label)[None] for one in pictures.numpy()])),)

        moved = lambda given: (stacked,)  # noqa: E731
        value = cm.sensitivity_max(explain, torch.from_numpy(self.picture[None]), moved, n_perturb_samples=SAMPLES, max_examples_per_batch=SAMPLES)
        self.say("Sensitivity", "max_sensitivity", "captum", value.item())
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


def pixels_inside(box: list[int], geometry: list[float]) -> np.ndarray:
    """The pixels of the prepared picture, to which `geometry` leads, whose centres lie in a box of the original."""
    (a, _, c), (_, e, f) = np.reshape(geometry, (2, 3))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return (x >= a * box[0] + c) & (x < a * box[2] + c) & (y >= e * box[1] + f) & (y < e * box[3] + f)


def measure_again(out: Path, boxes: dict[str, list[int]]) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """For each metric, quantity and reference what fame wrote and what is right."""
    ours: dict[tuple[str, ...], float] = {}
    for row in csv.DictReader((out / "metrics.csv").open()):
        ours[row["item"], row["explainer"], row["metric"], row["quantity"], row["parameter"]] = float(row["value"])
    table: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for place in sorted((out / "items").iterdir()):
        item = place.name
        picture = np.asarray(Image.open(place / f"{ROLE}.png").convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / np.float32(255)
        about = json.loads((place / "item.json").read_text())
        label = int(about["label"])
        inside = pixels_inside(next(box for stem, box in boxes.items() if stem in item), about["pictures"][ROLE]["geometry"])
        read = {file.name.split(".")[0]: np.load(file) for file in sorted(place.glob("*.npy")) if not file.name.endswith(".raw.npy")}
        for explainer, map_ in read.items():
            for (metric, quantity, by, parameter), theirs in Measured(item, picture, label, map_, inside, read["occlusion"]).all().items():
                mine = ours.get((item, explainer, metric, quantity, parameter))
                if mine is None:
                    raise SystemExit(f"fame has no {metric} {quantity} {parameter} of {explainer} for {item}")
                table.setdefault((metric, quantity, by), []).append((mine, theirs))
    return table | {("tables/reliability", "alpha", "krippendorff"): reliability(out, ours)}


def reliability(out: Path, ours: dict[tuple[str, ...], float]) -> list[tuple[float, float]]:
    """Krippendorff's α of every column of the run's reliability table: items are raters that rank the explainers."""
    pairs = []
    for row in csv.DictReader((out / "tables" / "reliability.csv").open()):
        about = row["metric"], row["quantity"], row["parameter"]
        found = {(item, explainer): value for (item, explainer, *what), value in ours.items() if tuple(what) == about}
        items, explainers = (sorted({key[n] for key in found}) for n in (0, 1))
        ratings = np.full((len(items), len(explainers)), np.nan)
        for (item, explainer), value in found.items():
            ratings[items.index(item), explainers.index(explainer)] = value
        ranks = np.array([(scipy.stats.rankdata(of, nan_policy="omit") - 0.5) / np.isfinite(of).sum() for of in ratings])
        if row["alpha"] and len(np.unique(ranks[np.isfinite(ranks)])) > 1:
            pairs.append((float(row["alpha"]), float(krippendorff.alpha(reliability_data=ranks, level_of_measurement="ordinal"))))
    return pairs


def synthetic(fame_cli: str, folder: Path, count: int) -> tuple[Path, dict[str, list[int]]]:
    """The list of drawn shapes, and by the name of each picture's file its box."""
    answer(fame_cli, "synth", "--layout", "image-list", "--count", str(count), "--seed", "3", folder)
    rows = list(csv.DictReader((folder / "list.csv").open()))
    return folder / "list.csv", {Path(row["path"]).stem: [int(v) for v in row["box"].split()] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fame_cli")
    parser.add_argument("--count", type=int, default=3, help="pictures")
    given = parser.parse_args()
    fame_cli = str(Path(given.fame_cli).resolve())
    np.argsort = stable_argsort
    torch.set_num_threads(1)
    ask = 'layer: "logits", loss: Logit(class: Label)'
    names = plugins(fame_cli, "metric")
    with tempfile.TemporaryDirectory() as folder:
        drawn, boxes = synthetic(fame_cli, Path(folder) / "shapes", given.count)
        recipe, out = Path(folder) / "parity.ron", Path(folder) / "out"
        numbers = dict(steps=STEPS, runs=RUNS, subset=SUBSET, samples=SAMPLES, radius=RADIUS, percents=list(PERCENTS), cuts=list(CUTS))
        recipe.write_text(RECIPE.format(list=drawn, ask=ask, **numbers))
        answer(fame_cli, "run", recipe, "--out", out)
        table = measure_again(out, boxes)
    print("| metric | quantity | held to | values | largest difference | correlation | verdict |\n| --- | --- | --- | --- | --- | --- | --- |")
    wrong = []
    for (metric, quantity, by), pairs in sorted(table.items()):
        mine, theirs = np.array(pairs).T
        apart = np.abs(mine - theirs).max() / max(1.0, np.abs(theirs).max())
        kind = TOLERANCE_OF.get(metric, "close")
        allowed, _ = TOLERANCES[kind]
        # A NaN does not hold.
        is_good = apart <= allowed
        alike = f"{np.corrcoef(mine, theirs)[0, 1]:.6f}" if np.ptp(theirs) > 0 and np.ptp(mine) > 0 else "all equal"
        verdict = f"within {kind} ({allowed:.0e})" if is_good else f"**BEYOND {kind} ({allowed:.0e})**"
        print(f"| {metric} | {quantity} | {named(by)} | {len(pairs)} | {apart:.1e} | {alike} | {verdict} |")
        if not is_good:
            worst = np.abs(mine - theirs).argmax()
            wrong.append(f"{metric} {quantity} ({by}): {mine[worst]:.6g} is not {theirs[worst]:.6g}")
    print(f"\n{given.count} drawn shapes; maps of Occlusion, Saliency and blurred noise.")
    for name, (allowed, why) in TOLERANCES.items():
        print(f"Tolerance {name}: {allowed:.0e} of the largest value, which counts as at least 1 – {why}.")
    held = {metric for metric, _, _ in table}
    print()
    for line in without_reference([name for name in names if name in ELSEWHERE and name not in held], ELSEWHERE):
        print(line)
    packages = ["onnxruntime", "torch", "quantus", "captum", "krippendorff", "scipy", "numpy"]
    print(f"\n{versions(fame_cli, *packages)}, Python {platform.python_version()}")
    if wrong:
        print("BEYOND TOLERANCE: " + "; ".join(wrong))
    silent = [name for name in names if name not in held | set(ELSEWHERE)]
    if silent:
        print("LEFT OUT, without a word where they are held: " + ", ".join(silent))
    if wrong or silent:
        sys.exit(1)


def named(by: str) -> str:
    """A reference with its version."""
    package, rest = re.match(r"(\w+)(.*)", by).groups()
    return by if package == "formula" else f"{package} {version(package)}{rest}"


if __name__ == "__main__":
    main()
