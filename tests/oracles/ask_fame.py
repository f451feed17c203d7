"""One network put to fame-cli: its value and input gradient, held against a witness; and a table of many of them.

A problem is an ONNX file with one picture, a target vector t at the layer `feat`, the value ½‖feat − t‖² and a check of
the gradient. The answer is sorted into one verdict, the worst that applies:

    right     value and gradient are the witness's; or there is no gradient, and fame says so and has the value right
    refused   clearly: no result, and the message names a node or operator of the network and a reason in plain words
    unclear   refused without either, or by a message that is false or quotes the engine's inside, or though `inspect` promised it
    wrong     any number that is not the witness's, or a result where there is none
    panic     a panic, even a caught one, a signal, or no end
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import onnx
from PIL import Image

VERDICTS = ("right", "refused", "unclear", "wrong", "panic")
MEAN, STD = 0.5, 0.25
TIMEOUT = 120  # seconds for one network of at most a few million parameters: a hundred times what any takes
# Words that only a reader of the engine's source understands.
INSIDE = (
    r"unify|failed analyse|undetermined symbol|unwrap|\bVal\(|\bSym\(|downcast|wire_node|TDim|TypedFact|InferenceFact"
    r"|TypedSource|assertion|DatumType|DataType|Tensor \{|#\d+ \"|\.rs:\d+|backtrace|Unimplemented\(|todo"
)
# Sentences that are false of every file here: shapes are all fixed, no file is damaged, all outputs move with the input.
FALSE = r"input_shape|damaged|does not depend on the input"


@dataclass
class Problem:
    name: str
    group: str  # the row of the table
    model: onnx.ModelProto  # picture [1, 3, H, W] to feat [1, n]
    picture: np.ndarray  # uint8 [H, W, 3]
    target: np.ndarray  # f32 [n]
    value: float | None  # None: the witness's is NaN or infinite, or there is no right one (random)
    value_tolerance: float
    # How far a gradient [3, H, W] is off, relative to the witness's; None: the witness's gradient is zero.
    gradient_off: Callable[[np.ndarray], float] | None
    gradient_tolerance: float
    names: set[str] = field(default_factory=set)  # nodes and operators: a refusal must name one


def normalised(picture: np.ndarray) -> np.ndarray:
    """What the network sees, [3, H, W] in f32."""
    return ((picture.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)


def target_near(output: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A target off `output` by about `share` of each value, so that an error in any of them moves the loss visibly."""
    scale = np.abs(output) + 0.01 * np.sqrt(np.mean(output**2)) + (0 if np.any(output) else 1)
    return (output - share * scale * rng.choice([-1, 1], output.shape) * rng.uniform(0.5, 1.5, output.shape)).astype(np.float32)


def half_squared_distance(output: np.ndarray, target: np.ndarray) -> float:
    return 0.5 * float(np.sum((output.astype(np.float64) - target) ** 2))


@dataclass
class Answer:
    """What fame said and wrote."""

    code: int | None  # None: no end
    said: str
    value: float | None = None
    gradient: np.ndarray | None = None

    @property
    def panicked(self) -> bool:
        return self.code is None or self.code < 0 or self.code == 101 or re.search(r"panicked|fame::bug", self.said) is not None


class Asker:
    """A problem's files in a folder, and fame-cli run on them."""

    def __init__(self, problem: Problem, fame: str, backend: str, folder: Path):
        self.fame, self.backend, self.folder = fame, backend, folder
        height, width = problem.picture.shape[:2]
        self.side = max(height, width)
        onnx.save(problem.model, folder / "net.onnx")
        Image.fromarray(problem.picture).save(folder / "p.png")
        (folder / "net.ron").write_text(
            f"(input: (size: (3, {height}, {width}), order: Rgb, mean: {MEAN}, std: {STD}), task: Classification, layers: {{}})"
        )
        self.loss = f"Target(towards: Values([{', '.join(repr(float(v)) for v in problem.target)}]))"

    def run(self, *arguments: str) -> tuple[int | None, str]:
        try:
            done = subprocess.run([self.fame, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return None, f"no end within {TIMEOUT} s"
        return done.returncode, plain(done.stdout + done.stderr)

    def explain(self, name: str, explainer: str) -> Answer:
        (self.folder / f"{name}.ron").write_text(
            f'(model: "net.ron", backend: {self.backend}, data: Image(file: "p.png"), prepare: [],\n'
            f' explain: {{"e": {explainer}}}, write: [Npy(raw: true)])'
        )
        answer = Answer(*self.run("run", f"{name}.ron", "--out", name))
        for item in (self.folder / name).glob("items/*/item.json"):
            found = re.search(r'"value(?:_before)?": (-?[0-9][-0-9.e+]*)', item.read_text())
            answer.value = float(found.group(1)) if found else None
            answer.gradient = next((np.load(raw) for raw in item.parent.glob("*.raw.npy")), None)
        return answer

    def with_gradient(self) -> Answer:
        return self.explain("gradient", f'Saliency(layer: "feat", loss: {self.loss}, map: [Abs(), MaxNormalize()])')

    def forward_only(self) -> Answer:
        return self.explain("forward", f'Occlusion(layer: "feat", loss: {self.loss}, window: {self.side}, stride: {self.side})')

    def inspect_promises(self) -> bool:
        code, said = self.run("inspect", "net.ron", "--backend", self.backend, "--json")
        if code != 0:
            return False
        try:
            return any(layer["name"] == "feat" and layer["explainable"] for layer in json.loads(said)["layers"])
        except (ValueError, KeyError):
            return False


def plain(said: str) -> str:
    """A message without colours, frames and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;]*m|[│├╰╭─▶×⚠]", " ", said)).strip()


def judge(problem: Problem, fame: str, backend: str) -> tuple[str, str]:
    """The verdict, and what there is to say about it."""
    with tempfile.TemporaryDirectory() as folder:
        asker = Asker(problem, fame, backend, Path(folder))
        answer = asker.with_gradient()
        if answer.panicked:
            return "panic", reason(answer.said)
        if answer.gradient is not None:
            return compare(problem, answer)
        if answer.code == 0:
            return "wrong", "exit status 0 without a gradient: " + reason(answer.said)
        if problem.value is None:
            return refusal(problem, answer)
        if problem.gradient_off is None and (said := re.search(r"\(y = ([-0-9.e+]+)\): the gradient is zero", answer.said)):
            # A value that nothing moves has no map of any kind; the sentence has the value itself.
            fits = near(float(said.group(1)), problem.value, problem.value_tolerance)
            return ("right" if fits else "wrong"), f"zero gradient, value {said.group(1)}, right {problem.value:g}"
        forward = asker.forward_only()
        if forward.panicked:
            return "panic", "forward: " + reason(forward.said)
        if forward.value is not None:
            if not near(forward.value, problem.value, problem.value_tolerance):
                return "wrong", f"forward {forward.value:g}, right {problem.value:g}; gradient: " + reason(answer.said)
        verdict, told = refusal(problem, answer)
        if problem.gradient_off is None and forward.value is not None:
            fair = verdict == "refused" or "gradient is zero" in told
            return ("right" if fair else "unclear"), "no gradient, value right: " + told
        if verdict == "refused" and asker.inspect_promises():
            return "unclear", "`inspect` promised it: " + told
        return verdict, told


def near(value: float, right: float, tolerance: float) -> bool:
    return abs(value - right) <= tolerance * max(abs(right), 1e-30)


def compare(problem: Problem, answer: Answer) -> tuple[str, str]:
    if problem.value is None:
        return "wrong", f"value {answer.value}, where there is none"
    if answer.value is None or not near(answer.value, problem.value, problem.value_tolerance):
        return "wrong", f"value {answer.value}, right {problem.value:g}"
    if problem.gradient_off is None:
        zero = not np.any(answer.gradient)
        return ("right", "zero gradient") if zero else ("wrong", "a gradient, where it is zero")
    off = problem.gradient_off(answer.gradient)
    return ("right" if off <= problem.gradient_tolerance else "wrong"), f"gradient off by {off:.2g}"


def refusal(problem: Problem, answer: Answer) -> tuple[str, str]:
    told = reason(answer.said)
    if problem.value is None and re.search(r"NaN|infinite|random", told, re.I):
        return "refused", told
    named = any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", told) for name in problem.names)
    return ("refused" if named and not re.search(f"{INSIDE}|{FALSE}", told, re.I) else "unclear"), told


def reason(said: str) -> str:
    """The error itself, without the lines before it."""
    found = re.search(r"(?:FAILED: |[Ee]rror: |fame::\w+::\w+ |panicked ).*", said)
    return (found.group(0) if found else said)[:1000]


def kind(told: str) -> str:
    """What many messages have in common: names, numbers and shapes out."""
    told = re.sub(r"`[^`]*`|\"[^\"]*\"|\[[^\]]*\]", "…", told)
    return re.sub(r"-?\d[\d.e+-]*", "N", told)[:150]


def table(results: list[tuple[Problem, str, str]]) -> str:
    """Verdicts per group with totals, then what is not right, by what was said."""
    rows: dict[str, Counter] = defaultdict(Counter)
    kinds: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem, verdict, told in results:
        rows[problem.group][verdict] += 1
        if verdict != "right":
            kinds[verdict, kind(told)].append(problem)
    total = sum(rows.values(), Counter())
    line = "{:<28}" + "{:>9}" * len(VERDICTS)
    lines = [line.format("", *VERDICTS)]
    lines += [line.format(group, *(row[v] or "" for v in VERDICTS)) for group, row in sorted(rows.items())]
    lines += [line.format(f"all {len(results)}", *(total[v] for v in VERDICTS)), "", "What is not right, by kind:"]
    for (verdict, told), of in sorted(kinds.items(), key=lambda k: (-VERDICTS.index(k[0][0]), -len(k[1]))):
        groups = ", ".join(f"{g} {n}" for g, n in Counter(p.group for p in of).most_common(8))
        lines.append(f"{verdict:<8}{len(of):>4}  {told}\n{'':14}{groups}; as {of[0].name}")
    return "\n".join(lines)


def settled(results: list[tuple[Problem, str, str]]) -> bool:
    """Whether everything is right or refused clearly."""
    return all(verdict in ("right", "refused") for _, verdict, _ in results)
