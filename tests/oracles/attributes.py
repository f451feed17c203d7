"""Makes `fame-plugins/src/backends/onnx/attributes.txt`: every operator of ONNX with the attributes that any of its
versions has, from the schemas of the installed package `onnx`.

    python attributes.py
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from onnx import defs

OUT = Path(__file__).resolve().parents[2] / "fame-plugins/src/backends/onnx/attributes.txt"


def main() -> None:
    known = defaultdict(set)
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            known[schema.name] |= set(schema.attributes)
    OUT.write_text("".join(" ".join([name, *sorted(known[name])]) + "\n" for name in sorted(known)))
    print(f"{len(known)} operators, opset {defs.onnx_opset_version()}")


if __name__ == "__main__":
    main()
