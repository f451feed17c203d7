"""Licences of all crates and fonts in the program, as one text, and what is in it, as CycloneDX.

Usage: third_party.py ROOT FOLDER
"""

import json
import pathlib
import re
import subprocess
import sys

#: Files of a crate that hold a licence begin so.
STARTS = ("license", "licence", "copying", "notice", "unlicense")


def crates(root):
    """The crates that fame-cli is built of, without those that only build or test it, by name and version."""
    host = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    target = next(line.split()[1] for line in host.splitlines() if line.startswith("host:"))
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    found = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in found["packages"]}
    needs = {
        node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        for node in found["resolve"]["nodes"]
    }
    start = next(id for id, package in packages.items() if package["name"] == "fame-cli")
    seen, open_ = set(), [start]
    while open_:
        id = open_.pop()
        if id not in seen:
            seen.add(id)
            open_ += needs[id]
    return sorted((packages[id] for id in seen), key=lambda p: (p["name"], p["version"]))


def licence_texts(package):
    """The texts of a crate's licence files."""
    folder = pathlib.Path(package["manifest_path"]).parent
    named = [folder / package["license_file"]] if package.get("license_file") else []
    files = named + sorted(f for f in folder.iterdir() if f.is_file() and f.name.lower().startswith(STARTS))
    return {f.name: f.read_text(errors="replace") for f in files if f.is_file()}


def font_texts(packages):
    """The licences of the fonts that lie in crates of this repository, by crate and file."""
    folders = [pathlib.Path(package["manifest_path"]).parent for package in packages if not package["source"]]
    files = [file for folder in folders for file in sorted(folder.glob("fonts/LICENSE-*.txt"))]
    return {f"the fonts in {file.parent.parent.name} ({file.name})": file.read_text() for file in files}


def fonts(packages):
    """The fonts that lie in crates of this repository, as the table of the README beside them says: file, version, licence."""
    folders = [pathlib.Path(package["manifest_path"]).parent for package in packages if not package["source"]]
    rows = re.compile(r"^\| `(.+?)` \| .+? \| (.+?) \| (.+?): \[", re.MULTILINE)
    return [row for folder in folders for file in folder.glob("fonts/README.md") for row in rows.findall(file.read_text())]


def main():
    root, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    packages = crates(root)
    others = [package for package in packages if package["source"]]
    lines = ["Crates and fonts of others in fame-cli, with their licences.", ""]
    texts = {text.strip(): [name] for name, text in font_texts(packages).items()}
    lines += [f"{file} {version}: {licence}" for file, version, licence in fonts(packages)]
    for package in others:
        lines.append(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}")
        for name, text in licence_texts(package).items():
            texts.setdefault(text.strip(), []).append(f"{package['name']} {package['version']} ({name})")
    for text, of in texts.items():
        lines += ["", "-" * 80, "Of " + ", ".join(of) + ":", "", text]
    (folder / "THIRD-PARTY.txt").write_text("\n".join(lines) + "\n")
    components = [
        {
            "type": "library",
            "name": package["name"],
            "version": package["version"],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
            "licenses": [{"expression": package["license"]}] if package["license"] else [],
        }
        for package in others
    ]
    components += [
        {"type": "data", "name": file, "version": version, "licenses": [{"license": {"name": licence}}]}
        for file, version, licence in fonts(packages)
    ]
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": components}
    (folder / "sbom.cdx.json").write_text(json.dumps(bom, indent=1) + "\n")
    print(f"{len(others)} crates of others, {len(fonts(packages))} kinds of fonts, {len(texts)} different texts")


main()
