#!/usr/bin/env bash
# Fetches the shared library of onnxruntime for the backend `Ort`: 34 MB on disk, 28 MB to download, a few seconds.
#
#   eval "$(fame-plugins/onnxruntime.sh)"     # fetches it if it is not there, and sets ORT_DYLIB_PATH
#   fame-plugins/onnxruntime.sh FOLDER        # … into FOLDER
#
# The Python package onnxruntime carries it; pip refuses a wheel whose sha256 is not one of those below. In its default folder fame
# finds it without ORT_DYLIB_PATH. Runs again do nothing.
set -euo pipefail

version=1.32.0
folder="${1:-${FAME_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fame}/onnxruntime-$version}"

say() { echo "onnxruntime.sh: $*" >&2; }
case "$(uname -s)-$(uname -m)" in
Linux-x86_64) platforms=(manylinux_2_28_x86_64) name=libonnxruntime.so ;;
Linux-aarch64) platforms=(manylinux_2_28_aarch64) name=libonnxruntime.so ;;
Darwin-arm64) platforms=(macosx_14_0_arm64) name=libonnxruntime.dylib ;;
*)
    say "knows no wheel for this system. Elsewhere: pip install onnxruntime==$version, and set ORT_DYLIB_PATH to the library in its folder capi."
    exit 1
    ;;
esac
finish() {
    # Quoted, so that `eval` survives a folder with spaces.
    printf 'export ORT_DYLIB_PATH=%q\n' "$folder/$name"
    exit 0
}

if [ -f "$folder/$name" ]; then
    folder="$(cd "$folder" && pwd)"
    finish
fi
python="${PYTHON:-python3}"
"$python" -m pip --version >/dev/null 2>&1 || { say "needs Python with pip, to download the wheel. PYTHON=… names one."; exit 1; }

# Beside the final place, so that the last step is a rename: a folder with the right name is always whole.
mkdir -p "$(dirname "$folder")"
folder="$(cd "$(dirname "$folder")" && pwd)/$(basename "$folder")"
work="$(mktemp -d "$folder.XXXXXX")"
trap 'rm -rf "$work"' EXIT

cat >"$work/wheels.txt" <<END
onnxruntime==$version \\
    --hash=sha256:5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d \\
    --hash=sha256:2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c \\
    --hash=sha256:366b9e53d07812cc5c92822cecf7563b76a8a0f32ba3bb8dd232a206ac3bcb6c
END
say "downloading onnxruntime $version, 28 MB"
"$python" -m pip --disable-pip-version-check download --quiet --require-hashes --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 "${platforms[@]/#/--platform=}" \
    --dest "$work/wheels" --requirement "$work/wheels.txt" >&2

"$python" - "$work/wheels" "$work/onnxruntime" "$name" <<'END'
import pathlib, re, shutil, sys, zipfile

wheels, target, name = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
# libonnxruntime.so.1.32.0, libonnxruntime.1.32.0.dylib; not libonnxruntime_providers_shared.so.
library = re.compile(r"onnxruntime/capi/libonnxruntime\.(so\.[0-9.]+|[0-9.]+\.dylib)")
notices = re.compile(r"onnxruntime/(LICENSE|ThirdPartyNotices\.txt)")
target.mkdir()
found = False
for wheel in wheels.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if library.fullmatch(member):
                place, found = target / name, True
            elif notices.fullmatch(member):
                place = target / member.rsplit("/", 1)[1]
            else:
                continue
            with archive.open(member) as source, open(place, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
if not found:
    sys.exit("onnxruntime.sh: the wheel holds no libonnxruntime")
END
rm -rf "$folder"
mv "$work/onnxruntime" "$folder"
finish
