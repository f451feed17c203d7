#!/usr/bin/env python3
"""Damaged files of every kind against the whole program: how each start ends.

    python3 tests/hostile.py FAME_CLI [--each 400] [--only KIND …] [--keep FOLDER]

Takes good files of a kind, damages one of them at random (a fixed series: the same files each time), and starts the program on it as a user would. A start is
at fault if it ends by a signal, shows a panic, takes more than ten seconds, or fails without a word. Prints a line for each kind, and exits with 1 if any start
was at fault; the files of those are kept. `testkit::fuzz` gives far more inputs to the readers themselves; here is everything around them too. Python alone.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
LIMIT = 10.0
"""Seconds that a start may take."""
SMALL = 200_000
"""Bytes of the largest seed: damage to a large one is mostly damage to its weights."""
RECIPE = '(model: "shapes", data: {data}, explain: {{"s": Saliency(loss: Logit(class: Index(0)), layer: Output)}}, {more}write: [Npy()])'
WORDS = [b"99999999999999999999", b"-1", b"0", b"NaN", b"inf", b"1e999", b'"', b"(", b")", b"[" * 3000, b"{" * 300, b"\x00", b"\xff\xfe", b"\x1b[2J", b"../../..",
         b"/dev/zero", b"\n" * 50, b"r#\"", b"/*", "\u202e".encode(), b",,,,", b"Some(" * 200]


def damaged(random: random.Random, seeds: list[bytes]) -> bytes:
    """One of the seeds, with one to four damages."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 4)):
        if not data:
            break
        at = random.randrange(len(data))
        end = min(len(data), at + random.choice([1, 2, 8, 64, 512]))
        match random.randrange(8):
            case 0:
                del data[at:]
            case 1:
                data[at] ^= 1 << random.randrange(8)
            case 2:
                data[at:end] = random.randbytes(end - at)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end] * random.choice([1, 3, 100])
            case 5:
                data[at:at] = random.choice(WORDS)
            case 6:
                other = random.choice(seeds)
                cut = random.randrange(len(other) + 1)
                data[at:] = other[cut:]
            case 7:
                data[at:end] = b"\xff" * (end - at)
    return bytes(data)


class Workshop:
    """A folder with what the starts need beside the damaged file."""

    def __init__(self, fame: str, folder: Path) -> None:
        self.fame, self.folder = fame, folder
        self.environment = dict(os.environ, RUST_BACKTRACE="0", FAME_CACHE=str(folder / "cache"))
        (folder / "models").mkdir()
        shutil.copy(HOME / "models/shapes.onnx", folder / "models/shapes.onnx")
        (folder / "good.ron").write_text(RECIPE.format(data="Shapes(count: 2)", more=""))
        self.start(["synth", "drawn", "--count", "3", "--layout", "image-list"])
        done = subprocess.run([fame, "run", "good.ron", "--out", "whole"], cwd=folder, env=self.environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()

    def start(self, arguments: list[str]) -> tuple[str, str, float]:
        """How a start ended, what it said, and how long it took."""
        began = time.monotonic()
        try:
            done = subprocess.run([self.fame, *arguments], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            return "hang", "", LIMIT
        said = done.stderr.decode(errors="replace") + done.stdout.decode(errors="replace")
        took = time.monotonic() - began
        if done.returncode < 0:
            return f"signal {-done.returncode}", said, took
        if "panicked" in said or "has a bug" in said:
            return "panic", said, took
        if done.returncode != 0 and not done.stderr.strip() and not done.stdout.strip():
            return "mute", said, took
        return "accepted" if done.returncode == 0 else "refused", said, took


def texts(*patterns: str) -> list[bytes]:
    files = [path for pattern in patterns for path in sorted(HOME.glob(pattern))]
    return [path.read_bytes() for path in files if path.stat().st_size <= SMALL]


def kinds(shop: Workshop) -> dict:
    """For each kind its seeds, and how a damaged file becomes the arguments of a start."""
    folder = shop.folder
    pictures = [path.read_bytes() for path in sorted(folder.glob("drawn/**/*.png"))]

    def recipe(data: bytes) -> list[str]:
        (folder / "r.ron").write_bytes(data)
        return ["check", "r.ron"]

    def manifest(data: bytes) -> list[str]:
        (folder / "models/mine.ron").write_bytes(data)
        (folder / "m.ron").write_text(RECIPE.format(data="Shapes(count: 1)", more="").replace('"shapes"', '"mine"'))
        return ["--models", "models", "check", "m.ron"]

    def listed(data: bytes) -> list[str]:
        (folder / "list.csv").write_bytes(data)
        (folder / "l.ron").write_text(RECIPE.format(data='ImageList(list: "list.csv")', more=""))
        shutil.rmtree(folder / "out-list", ignore_errors=True)
        return ["run", "l.ron", "--out", "out-list"]

    def picture(data: bytes) -> list[str]:
        shutil.rmtree(folder / "damaged", ignore_errors=True)
        (folder / "damaged").mkdir()
        (folder / "damaged/one.png").write_bytes(data)
        (folder / "p.ron").write_text(RECIPE.format(data='Image(file: "damaged/one.png")', more=""))
        shutil.rmtree(folder / "out-picture", ignore_errors=True)
        return ["run", "p.ron", "--out", "out-picture"]

    def network(data: bytes) -> list[str]:
        (folder / "net.onnx").write_bytes(data)
        (folder / "net.ron").write_text("(input: (size: (3, 64, 64), order: Rgb, mean: 0.5, std: 0.25))")
        return ["inspect", "net.onnx"]

    def of_run(name: str, command: list[str]):
        def start(data: bytes) -> list[str]:
            shutil.rmtree(folder / "again", ignore_errors=True)
            shutil.copytree(folder / "whole", folder / "again")
            (folder / "again" / name).write_bytes(data)
            return [*command, "again"]
        return [(folder / "whole" / name).read_bytes()], start

    item = next((folder / "whole/items").iterdir()).name
    field = next(path for path in (folder / "whole/items" / item).rglob("*.npy")).relative_to(folder / "whole")
    library = (HOME / "tests/golden/fuzz").glob("plugin.so/*")
    return {
        "recipe": (texts("recipes/*.ron"), recipe),
        "manifest": (texts("models/*.ron"), manifest),
        "list": ([(folder / "drawn/list.csv").read_bytes().replace(b"images/", b"drawn/images/")], listed),
        "picture": (pictures, picture),
        "network": (texts("models/shapes.onnx", "tests/golden/nets/*.onnx", "tests/golden/front_end/*/*.onnx"), network),
        "run.json, go on": of_run("run.json", ["run", "good.ron", "--out"]),
        "items.jsonl, verify": of_run("items.jsonl", ["verify-run"]),
        "items.jsonl, report": of_run("items.jsonl", ["report"]),
        "item.json, go on": of_run(f"items/{item}/item.json", ["run", "good.ron", "--out"]),
        "map .npy, report": of_run(str(field), ["report"]),
        "map .npy, go on": of_run(str(field), ["run", "good.ron", "--out"]),
        "plugin": ([b"\x7fELF\x02\x01\x01" + bytes(9) + bytes(range(256)) * 8, *[path.read_bytes() for path in library]], lambda data: plugin(folder, data)),
    }


def plugin(folder: Path, data: bytes) -> list[str]:
    (folder / "plugin.so").write_bytes(data)
    return ["--plugin", "plugin.so", "describe", "loss"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fame")
    parser.add_argument("--each", type=int, default=400)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--keep", type=Path, default=Path("hostile-faults"))
    arguments = parser.parse_args()
    faults = 0
    with tempfile.TemporaryDirectory() as place:
        shop = Workshop(str(Path(arguments.fame).resolve()), Path(place))
        if not list(shop.folder.glob("drawn/**/*.png")):
            print("no pictures to damage")
            return 1
        print(f"{'kind':22} {'tried':>6} {'refused':>8} {'accepted':>9} {'faults':>7} {'slowest':>8}")
        for kind, (seeds, start) in kinds(shop).items():
            if arguments.only and kind not in arguments.only:
                continue
            # What is undamaged must pass, or nothing would be learnt from the rest; no plugin's code is run here.
            end, said, _ = shop.start(start(seeds[0]))
            if kind != "plugin" and end != "accepted":
                print(f"{kind}: undamaged, it is {end}: {said}")
                return 1
            series, ends, slowest = random.Random(kind), {}, 0.0
            for number in range(arguments.each):
                data = damaged(series, seeds)
                end, said, took = shop.start(start(data))
                slowest = max(slowest, took)
                ends[end] = ends.get(end, 0) + 1
                if end not in ("refused", "accepted"):
                    arguments.keep.mkdir(exist_ok=True)
                    name = f"{kind.replace(' ', '-').replace(',', '')}-{number}"
                    (arguments.keep / name).write_bytes(data)
                    (arguments.keep / f"{name}.said").write_text(f"{end}\n{said}")
            wrong = sum(count for end, count in ends.items() if end not in ("refused", "accepted"))
            faults += wrong
            print(f"{kind:22} {arguments.each:6} {ends.get('refused', 0):8} {ends.get('accepted', 0):9} {wrong:7} {slowest:7.1f}s", flush=True)
    print(f"{faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
