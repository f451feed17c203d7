"""Every explainer of fame beside its reference implementation, run live: one table, and what has no reference.

    pip install -r requirements.txt
    python method_parity.py FAME_CLI                      # exit 1 if a map is beyond its tolerance, or an explainer left out
    python method_parity.py FAME_CLI --only 'Lrp|LeGrad'  # some explainers
    python method_parity.py FAME_CLI --brief              # one row for each explainer and reference
    python method_parity.py FAME_CLI --xplique PYTHON     # another Python, with xplique and TensorFlow

The slim networks are built, given their weights and exported here; fame reads the file, and a reference runs the same
weights as modules. Pictures are made here too, written as PNG, which fame reads, and are fed to both; every row is the
worst of them. fame is asked by a recipe, and its raw fields and finished maps are read back from the .npy files it writes.
Random draws are made as fame makes them and handed to the libraries in place of their own. Reference maps come from the
same functions that write the goldens of the Rust tests (`cam_parity.py`, `lrp.py`, `authors.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from unittest import mock

warnings.filterwarnings("ignore")

import authors  # noqa: E402
import cam_parity  # noqa: E402
import captum.attr as ca  # noqa: E402
import captum.attr._core.deep_lift as captum_deep_lift  # noqa: E402
import deep_lift  # noqa: E402
import lrp  # noqa: E402
import numpy as np  # noqa: E402
import pytorch_grad_cam as pgc  # noqa: E402
import slim_nets  # noqa: E402
import torch  # noqa: E402
import torchcam.methods as tc  # noqa: E402
from captum._utils.models.linear_model import SkLearnRidge  # noqa: E402
from common import export  # noqa: E402
from fame_runs import Feeding, Map, Stream, maps, plugins, save_picture, seed_of, versions, without_reference  # noqa: E402
from formula import INPUT, noise  # noqa: E402
from onnx_torch import OnnxNet  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from torch.nn.functional import interpolate  # noqa: E402

HERE = Path(__file__).resolve().parent

# The least correlation, of all.
ALIKE = 0.999
# The largest difference, as a share of the reference's largest value, and why it is not smaller.
TOLERANCES = {
    "close": (1e-4, "both sides are f32, with another order of sums"),
    "kinked": (1e-2, "a mean of gradients on a way: one point so near a kink that two f32 programs take different sides of it"),
    "descended": (1e-3, "factors from a descent that ends where its steps are small: another rounding may take a round more or less"),
    "stabilised": (1e-3, "zennit divides by z + 1e-6 at sums and mean poolings too, where there is nothing to divide"),
    "weighed": (1e-3, "captum holds a sum by a weight of 10⁶ instead of a condition, and keeps weights in f32"),
    "divided": (1e-3, "quotients of differences that are nearly zero magnify rounding"),
    "epsilon": (1e-3, "torchcam adds 1e-8 to a sum that it divides by, where grad-cam and fame add 1e-7"),
    "quotient": (1e-3, "differences of answers in f32, squared and divided by their variance"),
}

# Where explainers are held that have no reference implementation on PyPI: whether to a formula or to properties, and where.
ELSEWHERE = {
    "AttentionRollout": ("properties", "fame-plugins/src/explainers/attention_rollout.rs", "tests/tests/face_properties.rs"),
    "DRise": ("its score's formula and properties", "tests/third-party/fame-detection/src/explainers/d_rise.rs"),
    "DotDecomposition": ("properties", "tests/tests/face_properties.rs"),
    "Precomputed": ("properties (it reads files)", "fame-plugins/src/explainers/precomputed/tests.rs"),
    "Product": ("its formula", "fame-plugins/src/explainers/product.rs"),
    "RandomMap": ("properties (it is random on purpose)", "fame-plugins/src/explainers/random_map.rs"),
    "Randomized": (
        "properties (another explainer, on weights drawn anew)",
        "fame-plugins/src/backends/random_weights.rs::the_last_layers_forget_and_deeper_ones_are_nested",
    ),
    "Rise": ("properties", "fame-plugins/src/explainers/black_box/rise.rs", "tests/tests/face_properties.rs"),
    "Smooth": ("its formula", "fame-plugins/src/explainers/smooth.rs"),
    "Sum": ("its formula", "fame-plugins/src/explainers/sum.rs"),
    "Xssab": ("its formula", "tests/tests/face_properties.rs", "fame-plugins/src/explainers/face/xssab.rs"),
}

IN_CAM_PARITY = (
    *cam_parity.CAMS, "FullGrad", "Saliency", "GradientTimesInput", "GuidedBackprop", "IntegratedGradients", "DeepFeatureFactorization",
    "KpcaCam", "SegEigenCam", "ShapleyCam", "LeGrad", "RandomCam",
)  # fmt: skip
BLACK_BOXES = ("Occlusion", "SmoothGrad", "KernelShap", "Lime", "SobolAttribution", "HsicAttribution")
GRAD_CAM, CAPTUM, TORCHCAM, ZENNIT = (f"{name} {version(name)}" for name in ("grad-cam", "captum", "torchcam", "zennit"))
LEGRAD = f"legrad_torch {version('legrad_torch')}"
FACTORS = f"{GRAD_CAM}, scikit-learn {version('scikit-learn')}"
AUTHORS = "the FAME authors' formula (authors.py)"
DEEP, EARLIER = cam_parity.LAYERS["resnet50_slim"][1], cam_parity.LAYERS["resnet50_slim"][0]


@dataclass
class Case:
    """One thing asked of fame, and what a reference says of it."""

    explainer: str  # as `fame-cli describe explainer` names it, with what tells this row from the others
    reference: str
    layer: str
    spec: str
    # The reference's values, given the name of fame's map, which its random numbers depend on.
    theirs: Callable[[str], np.ndarray]
    compared: str = "raw field"
    tolerance: str = "close"
    index: int = 0  # which of fame's maps
    # Other specs that may be meant: a library that leaves the sign to chance.
    others: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return re.match(r"\w+", self.spec).group()


@dataclass
class Row:
    case: Case
    network: str
    correlation: float
    apart: float

    @property
    def good(self) -> bool:
        # A NaN does not hold.
        return self.correlation >= ALIKE and self.apart <= TOLERANCES[self.case.tolerance][0]


def compared(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Pearson's correlation, and the largest difference over the reference's largest value."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if theirs.ndim == 3 and ours.shape[0] == 1 and theirs.shape[0] > 1:
        # Where a library says of three channels the same, fame says it once.
        assert np.ptp(theirs, axis=0).max() == 0
        theirs = theirs[:1]
    ours, theirs = ours.ravel(), theirs.ravel()
    assert ours.size == theirs.size, f"fame's map has {ours.size} values, the reference's {theirs.size}"
    return float(np.corrcoef(ours, theirs)[0, 1]), float(np.abs(ours - theirs).max() / np.abs(theirs).max())


# --- networks and pictures -------------------------------------------------------------------------------------------


class Workshop:
    """A folder of networks exported here, pictures drawn here, and runs of fame."""

    def __init__(self, fame_cli: str, folder: Path, only: re.Pattern):
        self.fame_cli, self.folder, self.only = fame_cli, folder, only
        self.rows: dict[tuple[str, str, str], Row] = {}
        self.runs = 0

    def network(self, name: str, feeding: Feeding) -> tuple[Path, Path]:
        """The ONNX file of a slim network with a manifest of its own; what was exported must be what was built."""
        folder = self.folder / f"{name}-{feeding.mean[0]}"
        folder.mkdir(exist_ok=True)
        path = folder / f"{name}.onnx"
        if not path.exists():
            twin = slim_nets.build(name)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                export(twin, path, shape=(3, feeding.size, feeding.size), batch=None, output=slim_nets.SLIM[name][2])
            x = torch.from_numpy(noise(3 * feeding.size**2, INPUT).reshape(1, 3, feeding.size, feeding.size))
            net = OnnxNet(path)
            with torch.no_grad():
                assert torch.allclose(net(x)[net.output_names[0]], twin(x), rtol=1e-3, atol=1e-4), f"{name} was exported wrong"
        return path, feeding.write(path)

    def picture(self, name: str, size: int) -> tuple[Path, torch.Tensor]:
        """A made picture as a PNG, and its pixels [3, H, W] in 0..=1: stripes with a disc, or noise."""
        if name == "noise":
            pixels = np.rint((noise(3 * size * size, INPUT).reshape(3, size, size) + 1) / 2 * 255) / 255
        else:
            pixels = authors.drawn(size, int(name)).numpy()
        path = self.folder / f"{name}-{size}.png"
        save_picture(pixels, path)
        return path, torch.from_numpy(np.rint(pixels * 255).astype(np.float32) / np.float32(255))

    def hold(self, network: str, manifest: Path, data: str, cases: list[Case]) -> None:
        """Asks fame for every case in one run, and compares."""
        cases = [case for case in cases if self.only.search(case.explainer)]
        if not cases:
            return
        specs = {f"c{n}_{m}": spec for n, case in enumerate(cases) for m, spec in enumerate([case.spec, *case.others])}
        self.runs += 1
        found = maps(self.fame_cli, manifest, data, specs, self.folder / f"run-{self.runs}")
        for n, case in enumerate(cases):
            options = [found[f"c{n}_{m}"] for m in range(1 + len(case.others))]
            correlation, apart = max((self.distance(case, of) for of in options), key=lambda pair: (pair[0], -pair[1]))
            row = Row(case, network, correlation, apart)
            key = (case.explainer, case.reference, network)
            if key not in self.rows or not row.good or (self.rows[key].good and apart > self.rows[key].apart):
                self.rows[key] = row
            print(f"  {network}: {case.explainer}: {correlation:.7f}, {apart:.1e}", file=sys.stderr, flush=True)

    @staticmethod
    def distance(case: Case, found: list[Map]) -> tuple[float, float]:
        if len(found) <= case.index:
            theirs = case.theirs("")
            # What the libraries paint black, fame has no map of.
            return (1.0, 0.0) if not theirs.any() else (float("nan"), float("nan"))
        ours = found[case.index]
        return compared(ours.raw if case.compared == "raw field" else ours.finished, case.theirs(ours.name))


def normalised(pixels: torch.Tensor, feeding: Feeding) -> torch.Tensor:
    """The network's input [1, 3, H, W] as fame computes it, in f32."""
    mean, std = (torch.tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (feeding.mean, feeding.std))
    return ((pixels - mean) / std)[None]


HALVES = Feeding(64, [0.5] * 3, [0.5] * 3)
PICTURES = ("3", "noise")


# --- the references --------------------------------------------------------------------------------------------------


def of_cam_parity(shop: Workshop, name: str) -> None:
    """CAMs, gradients, factors and LeGrad: the rows of `cam_parity.py`."""
    path, manifest = shop.network(name, HALVES)
    for picture in PICTURES:
        file, pixels = shop.picture(picture, 64)
        x = normalised(pixels, HALVES)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            _, made = cam_parity.maps_of(name, path, x)
        cases = []
        for method, (spec, values, more) in made.items():
            cam = "finish:" in spec
            case = Case(method, reference_of(method, cam), layer_of(spec), spec, lambda _, v=values: v)
            case.compared = "finished map" if cam or more.get("finished") else "raw field"
            case.tolerance = {"IntegratedGradients": "kinked", "DeepFeatureFactorization": "descended"}.get(case.kind, "close")
            case.index = more.get("map", 0)
            if method.startswith("Eigen"):
                case.others = [spec.replace("finish:", "sign: Smallest, finish:", 1)]
            cases.append(case)
        cases += random_cam(name, path, x, file) + principal_cams(name, path, x) + (of_torchcam(name, path, x) if name != "vit_slim" else [])
        shop.hold(name, manifest, image(file), cases)


def image(file: Path) -> str:
    return f'Image(file: "{file}")'


def layer_of(spec: str) -> str:
    found = re.search(r"[( ]layer: (\[[^]]*\]|\"[^\"]*\")", spec)
    return re.sub(r"_output_0", "", found.group(1).replace('"', "").strip("[]")) if found else "input"


def reference_of(method: str, cam: bool) -> str:
    if method.startswith("LeGrad"):
        return LEGRAD
    if method.startswith("DeepFeature"):
        return FACTORS
    return GRAD_CAM if cam else CAPTUM


def class_of(net: torch.nn.Module, x: torch.Tensor) -> int:
    with torch.no_grad():
        return int(net(x).argmax())


def random_cam(name: str, path: Path, x: torch.Tensor, file: Path) -> list[Case]:
    """pytorch-grad-cam's RandomCAM with fame's random weights."""
    layer = cam_parity.LAYERS[name][0]
    net = cam_parity.ModuleNet(path, [layer])
    label = class_of(net, x)
    reshape = cam_parity.to_grid if name == "vit_slim" else None

    def theirs(map_name: str) -> np.ndarray:
        random = Stream(seed_of(layer, seed_of(f"{file.stem}/{map_name}")))

        def uniform(low, high, size):
            return np.array([np.float32(2.0 * random.uniform() - 1.0) for _ in range(size[-1])]).reshape(size)

        with mock.patch.object(pgc.random_cam.np.random, "uniform", uniform):
            return np.array(pgc.RandomCAM(net, [net.tap(0)], reshape_transform=reshape)(x.clone(), [ClassifierOutputTarget(label)])[0])

    spec = f'RandomCam(layer: "{layer}", loss: Logit(class: Index({label})), finish: PytorchGradCam)'
    return [Case("RandomCam", GRAD_CAM, layer_of(spec), spec, theirs, "finished map")]


def principal_cams(name: str, path: Path, x: torch.Tensor) -> list[Case]:
    """pytorch-grad-cam's CAMs by a principal component that settle its sign, as fame does."""
    layer = cam_parity.LAYERS[name][0]
    net = cam_parity.ModuleNet(path, [layer])
    label, cases = class_of(net, x), []
    for ours, method in (("KpcaCam", pgc.KPCA_CAM), ("SegEigenCam", pgc.SegEigenCAM)):
        reshape = cam_parity.to_grid if name == "vit_slim" else None
        values = np.array(method(net, [net.tap(0)], reshape_transform=reshape)(x.clone(), [ClassifierOutputTarget(label)])[0])
        spec = f'{ours}(layer: "{layer}", loss: Logit(class: Index({label})), finish: PytorchGradCam)'
        cases.append(Case(ours, GRAD_CAM, layer_of(spec), spec, lambda _, v=values: v, "finished map"))
    return cases


def of_torchcam(name: str, path: Path, x: torch.Tensor) -> list[Case]:
    """torchcam's maps before ReLU and normalisation, enlarged as fame's raw fields are."""
    layer = cam_parity.LAYERS[name][0]
    cases = []
    for ours, method in (("GradCam", tc.GradCAM), ("LayerCam", tc.LayerCAM), ("XGradCam", tc.XGradCAM)):
        net = cam_parity.ModuleNet(path, [layer])
        with method(net, net.taps[0].split(".")[1]) as extractor:
            extractor._relu = False
            scores = net(x.clone().requires_grad_())
            label = int(scores[0].argmax())
            cells = extractor(label, scores, normalized=False)[0].detach()
        values = interpolate(cells[None], x.shape[-2:], mode="bilinear", align_corners=False)[0].numpy()
        spec = f'{ours}(layer: "{layer}", loss: Logit(class: Index({label})))'
        tolerance = "epsilon" if ours == "XGradCam" else "close"
        cases.append(Case(ours, TORCHCAM, layer_of(spec), spec, lambda _, v=values: v, tolerance=tolerance))
    return cases


def of_zennit(shop: Workshop, name: str) -> None:
    path, manifest = shop.network(name, HALVES)
    file, pixels = shop.picture("3", 64)
    label, _, made = lrp.maps_of(path, normalised(pixels, HALVES))
    cases = []
    for parameters, values in made.items():
        shown = parameters.removeprefix("composite: ")
        spec = f"Lrp({parameters}, loss: Logit(class: Index({label})))"
        cases.append(Case(f"Lrp, {shown}", ZENNIT, "input", spec, lambda _, v=values: v, tolerance="stabilised"))
    shop.hold(name, manifest, image(file), cases)


def of_deep_lift(shop: Workshop, name: str) -> None:
    """Captum's DeepLIFT with the Rescale rule, mended where `deep_lift.py` says."""
    path, manifest = shop.network(name, HALVES)
    for picture in PICTURES:
        file, pixels = shop.picture(picture, 64)
        x = normalised(pixels, HALVES)
        # In f32: f64 takes the other side of a kink now and then.
        net = deep_lift.with_copies(path).float()
        label = class_of(net, x)
        mended = {torch.nn.ReLU6: captum_deep_lift.nonlinear, torch.nn.MaxPool2d: deep_lift.summed_max_pool}
        with mock.patch.dict(captum_deep_lift.SUPPORTED_NON_LINEAR, mended):
            values = deep_lift.attribute(net, x, torch.zeros_like(x), label).numpy()
        spec = f"DeepLift(loss: Logit(class: Index({label})), baseline: Zero)"
        case = Case("DeepLift", f"{CAPTUM}, mended (deep_lift.py)", "input", spec, lambda _, v=values: v, tolerance="divided")
        shop.hold(name, manifest, image(file), [case])


def of_black_boxes(shop: Workshop, xplique: str | None) -> str:
    """Captum's and xplique's methods that only ask the network; what is to be said of xplique."""
    name = "resnet50_slim"
    path, manifest = shop.network(name, HALVES)
    net = cam_parity.ModuleNet(path, [DEEP])
    said = ""
    for picture in PICTURES:
        file, pixels = shop.picture(picture, 64)
        x = normalised(pixels, HALVES)
        label = class_of(net, x)
        cases = [occlusion(net, x, label), smooth_grad(net, x, label, file), kernel_shap(net, x, label, file), lime(net, x, label, file)]
        if shop.only.search("SobolAttribution|HsicAttribution"):
            made, said = estimators(net, x, label, file, xplique, shop.folder)
            cases += made
        shop.hold(name, manifest, image(file), cases)
    return said


def occlusion(net: torch.nn.Module, x: torch.Tensor, label: int) -> Case:
    window, stride = 16, 8
    with torch.no_grad():
        values = ca.Occlusion(net).attribute(x, (3, window, window), strides=(3, stride, stride), target=label, perturbations_per_eval=16)
    spec = f"Occlusion(window: {window}, stride: {stride}, fill: Mean, loss: Logit(class: Index({label})))"
    return Case("Occlusion", CAPTUM, "input", spec, lambda _: values[0].numpy())


def smooth_grad(net: torch.nn.Module, x: torch.Tensor, label: int, file: Path) -> Case:
    """Captum's noise tunnel over its gradient, with fame's noise."""
    copies, share = 8, 0.15

    def theirs(map_name: str) -> np.ndarray:
        seed = seed_of(f"{file.stem}/{map_name}")
        drawn = np.stack([Stream(seed, k).normal(x.numel()) for k in range(1, copies + 1)]).reshape(copies, *x.shape[1:])
        sigma = float(share * (x.max() - x.min()))
        with mock.patch.object(torch, "normal", lambda _, deviation: deviation * torch.from_numpy(drawn)):
            tunnel = ca.NoiseTunnel(ca.Saliency(net))
            return tunnel.attribute(x.clone(), nt_samples=copies, stdevs=sigma, target=label, abs=False)[0].detach().numpy()

    spec = f"SmoothGrad(form: Mean, n: {copies}, noise: {share}, loss: Logit(class: Index({label})))"
    return Case("SmoothGrad", CAPTUM, "input", spec, theirs, tolerance="kinked")


def tiles(side: int, tile: int) -> np.ndarray:
    """The number of each pixel's tile."""
    at = np.arange(side) // tile
    return at[:, None] * (at[-1] + 1) + at[None]


def kernel_shap(net: torch.nn.Module, x: torch.Tensor, label: int, file: Path) -> Case:
    """Captum's KernelSHAP on the sets of tiles that fame draws."""
    tile, samples = 16, 400
    of_pixel = torch.from_numpy(tiles(x.shape[-1], tile))[None, None]
    count = int(of_pixel.max()) + 1

    def sets():
        weights = [(count - 1) / (s * (count - s)) for s in range(1, count)]
        seed = seed_of(f"{file.stem}/KernelShap")
        for pair in range(samples // 2):
            random = Stream(seed, pair)
            left, size = random.uniform() * sum(weights), 1
            while size + 1 < count and left > weights[size - 1]:
                left -= weights[size - 1]
                size += 1
            chosen = random.set(size, count)
            one = torch.zeros(1, count, dtype=torch.long)
            one[0, chosen] = 1
            yield 1 - one
            yield one

    def generated(*_, **__):
        yield torch.ones(1, count, dtype=torch.long)
        yield torch.zeros(1, count, dtype=torch.long)
        yield from sets()

    def theirs(_: str) -> np.ndarray:
        method = ca.KernelShap(net)
        method.perturb_func = generated
        made = method.attribute(x, torch.zeros_like(x), label, feature_mask=of_pixel, n_samples=samples + 2, perturbations_per_eval=16)
        return made[0, :1].numpy()

    spec = f"KernelShap(side: {tile}, samples: {samples}, fill: Mean, loss: Logit(class: Index({label})))"
    return Case("KernelShap", CAPTUM, "input", spec, theirs, tolerance="weighed")


def lime(net: torch.nn.Module, x: torch.Tensor, label: int, file: Path) -> Case:
    """Captum's LIME with scikit-learn's ridge, on the sets of tiles that fame tosses."""
    tile, samples, width, ridge = 16, 400, 0.25, 1.0
    of_pixel = torch.from_numpy(tiles(x.shape[-1], tile))
    count = int(of_pixel.max()) + 1

    def sets(*_, **__):
        seed = seed_of(f"{file.stem}/Lime")
        for n in range(samples):
            random = Stream(seed, n)
            yield torch.tensor([[random.below(2) for _ in range(count)]])

    def near(_, __, kept, **___):
        return torch.exp(-(((1 - (kept.double().mean()).sqrt()) / width) ** 2))

    def theirs(_: str) -> np.ndarray:
        method = ca.LimeBase(net, SkLearnRidge(alpha=ridge), near, sets, True, lambda kept, given, **___: given * kept[0][of_pixel], None)
        weights = method.attribute(x, target=label, n_samples=samples, perturbations_per_eval=16)
        return weights.reshape(-1)[of_pixel][None].numpy()

    spec = f"Lime(side: {tile}, samples: {samples}, width: {width}, ridge: {ridge}, fill: Mean, loss: Logit(class: Index({label})))"
    return Case("Lime", f"{CAPTUM}, scikit-learn {version('scikit-learn')}", "input", spec, theirs, tolerance="weighed")


def latin(random: Stream, count: int) -> np.ndarray:
    """One value in each of `count` equal intervals, in random order."""
    return np.array(random.shuffle([np.float32((n + random.uniform()) / count) for n in range(count)]), np.float32)


def estimators(net, x: torch.Tensor, label: int, file: Path, xplique: str | None, folder: Path) -> tuple[list[Case], str]:
    """xplique's estimators on fame's masks and the network's answers to them, asked here anew."""
    grid, design, count = 4, 16, 200
    cells = grid * grid
    of_pixel = torch.from_numpy(tiles(x.shape[-1], x.shape[-1] // grid))

    def ask(masks: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = [net(x * torch.from_numpy(part)[:, of_pixel][:, None])[:, label] for part in np.array_split(masks.astype(np.float32), 1 + len(masks) // 32)]
        return torch.cat(parts).numpy()

    seed = seed_of(f"{file.stem}/SobolAttribution")
    pairs = [(lambda random: (latin(random, design), latin(random, design)))(Stream(seed, cell)) for cell in range(cells)]
    a, b = (np.stack([pair[half] for pair in pairs], axis=1) for half in (0, 1))
    swapped = [np.where(np.arange(cells) == cell, b, a) for cell in range(cells)]
    sobol = np.concatenate([a, b, *swapped])
    seed = seed_of(f"{file.stem}/HsicAttribution")
    hsic = np.stack([latin(Stream(seed, cell), count) >= 0.5 for cell in range(cells)], axis=1).astype(np.float32)
    given, out = folder / f"xplique-{file.stem}.npz", folder / f"xplique-{file.stem}-out.npz"
    square = lambda masks: masks.reshape(-1, grid, grid)  # noqa: E731
    np.savez(given, design=design, sobol_masks=square(sobol), sobol_answers=ask(sobol), hsic_masks=square(hsic), hsic_answers=ask(hsic))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([xplique or sys.executable, HERE / "xplique_oracle.py", given, out], capture_output=True, text=True, env=environment)
    if re.search(r"ModuleNotFoundError: No module named '(tensorflow|xplique)", done.stderr):
        return [], "xplique is not installed: rows of SobolAttribution and HsicAttribution left out (--xplique PYTHON names a Python that has it)"
    if done.returncode != 0:
        raise SystemExit(f"xplique_oracle.py failed:\n{done.stderr[-3000:]}")
    said, values = done.stdout.strip().splitlines()[-1], np.load(out)
    at = lambda of: (lambda _: of.reshape(-1)[of_pixel.numpy()][None])  # noqa: E731
    loss = f"loss: Logit(class: Index({label}))"
    return [
        Case("SobolAttribution", said, "input", f"SobolAttribution(grid: {grid}, design: {design}, sampling: LatinHypercube, {loss})", at(values["sobol"]), tolerance="quotient"),
        Case("HsicAttribution", said, "input", f"HsicAttribution(grid: {grid}, masks: {count}, width: Median, {loss})", at(values["hsic"]), tolerance="quotient"),
    ], said  # fmt: skip


def of_authors(shop: Workshop) -> None:
    """FAME, CAMs, CorrRISE and FGGB as the FAME authors' code computes them."""
    pixel = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    feeding, layer = Feeding(64, *pixel), DEEP
    path, manifest = shop.network("resnet50_slim", feeding)
    file, pixels = shop.picture("3", 64)
    made = authors.of_class(authors.Network(path, authors.MEAN, authors.STD, layer), pixels)
    shop.hold("resnet50_slim", manifest, image(file), cases_of_authors(made))

    feeding = Feeding(56, [0.5] * 3, [0.5] * 3, "embedding", "Bgr", "Similarity()")
    path, manifest = shop.network("iresnet50_slim", feeding)
    (gallery, left), (probe, right) = (shop.picture(shade, 56) for shade in ("3", "5"))
    network = authors.Network(path, 0.5, 0.5, "/body/body.23/Add_output_0")
    made = authors.of_pair(network, left.flip(0), right.flip(0))
    shop.hold("iresnet50_slim", manifest, f'Pair(gallery: "{gallery}", probe: "{probe}")', cases_of_authors(made))


def cases_of_authors(made: dict[str, tuple[str, torch.Tensor]]) -> list[Case]:
    cases = []
    for method, (spec, values) in made.items():
        case = Case(method, AUTHORS, layer_of(spec), spec, lambda _, v=values: v.detach().numpy(), "finished map")
        # CorrRISE and FGGB make both maps at once, what speaks for the match first.
        case.index = int(method.endswith("dissimilar") and not method.startswith("Fame"))
        cases.append(case)
    return cases


# --- the table -------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    lines = ["| explainer | reference | network | layer | compared | Pearson | largest difference / largest value | verdict |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in rows:
        case = row.case
        allowed = TOLERANCES[case.tolerance][0]
        verdict = f"within {case.tolerance} ({allowed:.0e})" if row.good else f"**BEYOND {case.tolerance} ({allowed:.0e})**"
        cells = [case.explainer, case.reference, row.network, case.layer, case.compared, f"{row.correlation:.7f}", f"{row.apart:.1e}", verdict]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def brief(rows: list[Row]) -> str:
    """A row for each explainer and reference: the worst of its forms, layers and networks."""
    lines = ["| explainer | reference | maps | networks | compared | least Pearson | largest difference / largest value | verdict |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.case.kind, row.case.reference, row.case.compared), []).append(row)
    for (kind, reference, compared_as), of in groups.items():
        worst = max(of, key=lambda row: (not row.good, row.apart))
        allowed = TOLERANCES[worst.case.tolerance][0]
        verdict = f"within {worst.case.tolerance} ({allowed:.0e})" if worst.good else f"**BEYOND {worst.case.tolerance} ({allowed:.0e})**"
        networks = ", ".join(sorted({row.network.removesuffix("_slim") for row in of}))
        numbers = f"{min(row.correlation for row in of):.7f} | {worst.apart:.1e}"
        lines.append(f"| {kind} | {reference} | {len(of)} | {networks} | {compared_as} | {numbers} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fame_cli")
    parser.add_argument("--only", default="", help="a regular expression of explainers")
    parser.add_argument("--brief", action="store_true", help="one row for each explainer and reference: the worst")
    parser.add_argument("--xplique", default=os.environ.get("FAME_XPLIQUE"), help="a Python that has xplique (default: this one)")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    fame_cli = str(Path(given.fame_cli).resolve())
    names = plugins(fame_cli, "explainer")
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(fame_cli, Path(folder), re.compile(given.only))
        wanted = lambda *kinds: any(shop.only.search(kind) for kind in kinds if kind in names)  # noqa: E731
        for network in cam_parity.LAYERS if wanted(*IN_CAM_PARITY) else ():
            of_cam_parity(shop, network)
        for network in lrp.NAMES if wanted("Lrp") else ():
            of_zennit(shop, network)
        for network in deep_lift.NAMES if wanted("DeepLift") else ():
            of_deep_lift(shop, network)
        said = of_black_boxes(shop, given.xplique) if wanted(*BLACK_BOXES) else ""
        if wanted("Fame", "Fggb", "CorrRise", "FullGrad", "GradCam", "GradCamElementwise", "HiResCam"):
            of_authors(shop)
    rows = sorted(shop.rows.values(), key=lambda row: (row.case.kind.lower(), row.case.explainer, row.case.reference, row.network))
    if not rows and "not installed" not in said:
        parser.error(f"--only: no explainer with a reference is called like `{given.only}`.")
    print((brief(rows) if given.brief else table(rows)) + "\n")
    for name, (allowed, why) in TOLERANCES.items():
        print(f"Tolerance {name}: {allowed:.0e} of the largest value – {why}.")
    print(f"Pearson of all: {ALIKE} or more. Every row is the worst of its pictures.\n")
    if "not installed" in said:
        print(said + "\n")
    held = {row.case.kind for row in rows}
    excused = {"SobolAttribution", "HsicAttribution"} if "not installed" in said else set()
    for line in without_reference([name for name in names if name in ELSEWHERE and name not in held], ELSEWHERE):
        print(line)
    packages = ["onnxruntime", "torch", "torchvision", "onnx", "numpy"]
    print(f"\n{versions(fame_cli, *packages)}, Python {platform.python_version()}")
    failed = [f"{row.case.explainer} ({row.case.reference}, {row.network})" for row in rows if not row.good]
    if failed:
        print("BEYOND TOLERANCE: " + "; ".join(failed))
    silent = [] if given.only else [name for name in names if name not in held | excused | set(ELSEWHERE)]
    if silent:
        print("LEFT OUT, without a word where they are held: " + ", ".join(silent))
    if failed or silent:
        sys.exit(1)


if __name__ == "__main__":
    main()
