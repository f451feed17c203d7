#!/usr/bin/env python3
"""Writes the bill of materials of the program: every crate that it is linked from, with version, licence and checksum, as
CycloneDX 1.6. Derived from `cargo metadata` and Cargo.lock alone, so the same tree gives the same bytes, and no network is asked.

    python3 tests/supply/sbom.py >fame.cdx.json            # of the default program
    python3 tests/supply/sbom.py --features fame-cli/tch   # with what a feature adds
"""
import json
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = "fame-cli"


def metadata(features):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host()]
    return json.loads(subprocess.run(command + features, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def host():
    text = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.removeprefix("host: ") for line in text.splitlines() if line.startswith("host: "))


def linked(graph, start):
    """The packages that `start` is made from: normal and build dependencies, no tests."""
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    seen, waiting, edges = set(), [start], {}
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        wanted = {
            dep["pkg"] for dep in nodes[package]["deps"] if any(kind["kind"] in (None, "build") for kind in dep["dep_kinds"])
        }
        edges[package] = wanted
        waiting.extend(wanted)
    return seen, edges


def main():
    graph = metadata(sys.argv[1:])
    packages = {package["id"]: package for package in graph["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(crate["name"], crate["version"]): crate.get("checksum") for crate in lock["package"]}
    start = next(id for id, package in packages.items() if package["name"] == PROGRAM and package["source"] is None)
    seen, edges = linked(graph, start)

    def reference(id):
        return f"pkg:cargo/{packages[id]['name']}@{packages[id]['version']}"

    def component(id):
        package = packages[id]
        about = {
            "type": "application" if id == start else "library",
            "bom-ref": reference(id),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(id),
            "scope": "required",
        }
        if package["description"]:
            about["description"] = " ".join(package["description"].split())
        if package["license"]:
            # Cargo allowed a slash for `OR` once.
            about["licenses"] = [{"expression": package["license"].replace("/", " OR ").replace("  ", " ")}]
        elif package["license_file"]:
            about["licenses"] = [{"license": {"name": f"in the crate's file {package['license_file']}"}}]
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            about["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["repository"]:
            about["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
        return about

    others = sorted(seen - {start}, key=reference)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(start)},
        "components": [component(id) for id in others],
        "dependencies": [
            {"ref": reference(id), "dependsOn": sorted(reference(other) for other in edges[id])}
            for id in sorted(seen, key=reference)
        ],
    }
    unlicensed = [reference(id) for id in seen if not (packages[id]["license"] or packages[id]["license_file"])]
    if unlicensed:
        sys.exit(f"crates without a licence: {', '.join(sorted(unlicensed))}")
    json.dump(bill, sys.stdout, indent=1, ensure_ascii=False)
    print()
    print(f"{len(others)} crates beside {reference(start)}", file=sys.stderr)


if __name__ == "__main__":
    main()
