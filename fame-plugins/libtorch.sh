#!/usr/bin/env bash
# Builds the CPU-only libtorch folder that the feature `tch` links: 486 MB on disk, 540 MB to download, about half a minute.
#
#   eval "$(fame-plugins/libtorch.sh)"        # builds it if it is not there, and sets LIBTORCH
#   fame-plugins/libtorch.sh FOLDER           # … in FOLDER
#
# The release archives of libtorch are not on any package registry, but the wheels of PyTorch hold the same library. Those are the CUDA
# build, and its CPU half needs only two small CUDA libraries to be *loaded*, no GPU and no driver. Runs again do nothing.
set -euo pipefail

version=2.13.0 # what tch 0.26 binds
folder="${1:-${FAME_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fame}/libtorch-$version}"

say() { echo "libtorch.sh: $*" >&2; }
finish() {
    # Quoted, so that `eval` survives a folder with spaces.
    printf 'export LIBTORCH=%q\n' "$folder"
    exit 0
}

if [ "$(cat "$folder/build-version" 2>/dev/null)" = "$version" ]; then
    finish
fi
if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    say "builds for Linux on x86-64 only. Elsewhere: pip install torch==$version, and set LIBTORCH_USE_PYTORCH=1."
    exit 1
fi
python="${PYTHON:-python3}"
"$python" -m pip --version >/dev/null 2>&1 || { say "needs Python with pip, to download the wheels. PYTHON=… names one."; exit 1; }

# Beside the final place, so that the last step is a rename: a folder with the right name is always whole.
mkdir -p "$(dirname "$folder")"
folder="$(cd "$(dirname "$folder")" && pwd)/$(basename "$folder")"
work="$(mktemp -d "$folder.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# pip refuses any file whose sha256 is not the one written here.
cat >"$work/wheels.txt" <<END
torch==$version --hash=sha256:60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
END
say "downloading three wheels, 540 MB"
"$python" -m pip --disable-pip-version-check download --quiet --require-hashes --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64 \
    --dest "$work/wheels" --requirement "$work/wheels.txt" >&2

say "unpacking into $folder"
"$python" - "$work/wheels" "$work/libtorch" <<'END'
import pathlib, shutil, sys, zipfile

wheels, target = map(pathlib.Path, sys.argv[1:])
wanted = {
    "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1",
    "nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcupti.so.13",
}
for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name in wanted:
                wanted.discard(name)
                place = target / "lib" / name.rsplit("/", 1)[1]
            elif name.startswith("torch/include/") and not name.endswith("/"):
                place = target / name.removeprefix("torch/")
            else:
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(place, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
if wanted:
    sys.exit(f"libtorch.sh: the wheels lack {', '.join(sorted(wanted))}")
# What the linker is asked for; `libtorch.so` proper only pulls in the other libraries, of which there is one here.
(target / "lib/libtorch.so").symlink_to("libtorch_cpu.so")
END
echo "$version" >"$work/libtorch/build-version"
rm -rf "$folder"
mv "$work/libtorch" "$folder"
finish
