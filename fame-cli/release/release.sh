#!/usr/bin/env bash
# Makes what is handed out, in OUT (default: target/release-files), and tries it:
#
#   fame_cli-VERSION-….whl           pip install FILE gives fame-cli, with recipes, manifests and templates inside
#   fame-cli-VERSION-TARGET.tar.gz   the program, completions, man pages, licences, SBOM
#   SHA256SUMS                       of both
#
# Usage: fame-cli/release/release.sh [--profile release|dev] [OUT]
#
# Needs Rust, and Python 3.11 with venv; maturin comes from the package index. The trial runs in an empty
# folder with an empty environment and no network: only what is in the files can be used. Then the newcomer's
# path of the manual, which fetches a network and two photographs; with the variable TORCH_PYTHON, a Python that
# has torchvision, that network is exported on the way.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
profile=release
if [ "${1:-}" = --profile ]; then
    profile="$2"
    shift 2
fi
out="${1:-$root/target/release-files}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

say() { echo "== $*"; }

say "tools"
python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.9,<2' wheel

say "wheel ($profile)"
# Cargo's own rule names the folder of the profile dev otherwise.
(cd "$root/fame-cli" && "$work/tools/bin/maturin" build --locked --profile "$profile" --out "$work/wheel")
wheel="$(ls "$work"/wheel/*.whl)"

say "licences and SBOM"
mkdir "$work/licences"
cp "$root/LICENSE-MIT" "$root/LICENSE-APACHE" "$work/licences"
python3 "$here/third_party.py" "$root" "$work/licences"

# Licences lie above the crate's folder, where maturin does not look: they are put in afterwards.
"$work/tools/bin/wheel" unpack --dest "$work/unpacked" "$wheel" >/dev/null
unpacked="$(ls -d "$work"/unpacked/*)"
info="$(ls -d "$unpacked"/*.dist-info)"
mkdir -p "$info/licenses"
cp "$work"/licences/* "$info/licenses"
rm -f "$out"/fame_cli-*.whl "$out"/fame-cli-*.tar.gz
"$work/tools/bin/wheel" pack --dest-dir "$out" "$unpacked" >/dev/null
wheel="$(ls "$out"/fame_cli-*.whl)"

say "archive"
program="$(ls "$unpacked"/*.data/scripts/fame-cli)"
chmod +x "$program"
version="$("$program" --version | cut -d' ' -f2)"
target="$(rustc -vV | sed -n 's/^host: //p')"
name="fame-cli-$version-$target"
tree="$work/$name"
mkdir -p "$tree/completions" "$tree/licences"
cp "$program" "$tree/fame-cli"
cp "$work"/licences/* "$tree/licences"
"$program" man "$tree/man"
for shell in bash zsh fish; do
    "$program" completions "$shell" >"$tree/completions/fame-cli.$shell"
done
# The same bytes whenever and by whomever it is packed.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$work" -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$(basename "$wheel")" "$name.tar.gz" >SHA256SUMS)

say "libraries that the program needs"
ldd "$program"
if ldd "$program" | grep -vE 'linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|gcc_s)\.so|statically'; then
    echo "the program needs a library that not every Linux has"
    exit 1
fi

# The main job with what is in the program: a recipe, its network, drawn pictures, tables, a report.
trial() {
    local program="$1" folder="$2"
    mkdir -p "$folder/home"
    (
        cd "$folder"
        fame() { env -i HOME="$folder/home" PATH=/nonexistent "$program" "$@"; }
        fame --version
        fame describe manifest >/dev/null
        fame recipes get mini_table1
        fame check mini_table1.ron
        fame run mini_table1.ron --out out --limit 2 --set explain.fame.perturbation.iterations=3 >/dev/null
        fame verify-run out
        fame synth drawn --layout image-list --count 2 >/dev/null
        fame explain shapes "$(find drawn -name '*.png' | sort | head -n 1)" --method GradCam >/dev/null
        test -s out/report.html && test -s out/tables/all_metrics.csv
    )
}

say "trial of the wheel in a new environment"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-index "$wheel"
trial "$work/venv/bin/fame-cli" "$work/trial-wheel"

say "trial of the archive"
mkdir "$work/there"
tar -xzf "$out/$name.tar.gz" -C "$work/there"
trial "$work/there/$name/fame-cli" "$work/trial-archive"
test -s "$work/there/$name/man/fame-cli-run.1"
(cd "$out" && sha256sum --check --quiet SHA256SUMS)

say "a newcomer's path"
[ "$profile" = release ] || export FIRST_MAP_SECONDS=600
"$here/newcomer.sh" "$wheel" ${TORCH_PYTHON:+--torchvision "$TORCH_PYTHON"}

say "done"
ls -l "$out"
