"""FiftyOne's own export of a small dataset, which `FiftyOne()` is held to, and its import of ours.

    python export.py                writes export.json beside this file
    python export.py OUT/fiftyone   imports what a run left, reads every heatmap, tells the fields

Made with fiftyone 1.22.1 (`pip install fiftyone`), which needs a MongoDB server: one of its own, or
the one at FIFTYONE_DATABASE_URI. What is not ours to say is left out of the golden file: ids, times,
random numbers, sizes of files.
"""

import json
import pathlib
import sys
import tempfile

import fiftyone as fo
import numpy as np
from PIL import Image

KEPT = ("name", "db_field", "ftype", "embedded_doc_type", "subfield", "read_only")


def field(about):
    """A field of the schema without times, its own fields in the order of their names."""
    parts = sorted((field(part) for part in about["fields"] or []), key=lambda part: part["name"])
    return {**{name: about[name] for name in KEPT}, "fields": parts}


def plain(value):
    """A document without what differs from one export to the next."""
    if not isinstance(value, dict):
        return value
    others = ("_id", "_rand", "_dataset_id", "created_at", "last_modified_at", "size_bytes")
    return {name: plain(part) for name, part in value.items() if name not in others}


def golden():
    """The dataset of the unit test, made by FiftyOne's interface and exported by it."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "in/a").mkdir(parents=True)
        picture, heatmap = folder / "in/a/image.png", folder / "in/a/map.png"
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(picture)
        Image.fromarray(np.zeros((4, 6), np.uint8)).save(heatmap)
        sample = fo.Sample(filepath=str(picture), item="a", role="image", source="f/a.jpg", frame="photograph")
        sample["metadata"] = fo.ImageMetadata(
            size_bytes=1, mime_type="image/png", width=6, height=4, num_channels=3
        )
        sample["ground_truth"] = fo.Classification(label="cat", index=1)
        sample["predictions"] = fo.Classification(label="cat", confidence=0.75, index=1)
        sample["cam"] = fo.Heatmap(map_path=str(heatmap), range=[0, 255], low=0.0, high=1.0, claim="for")
        sample["genuine"], sample["row"], sample["fold"], sample["weight"] = True, 7, "2", 0.5
        sample["cam_Road_MoRF_P_10"] = 0.25
        dataset = fo.Dataset()
        dataset.add_sample(sample, dynamic=True)
        dataset.export(str(folder / "out"), dataset_type=fo.types.FiftyOneDataset)
        dataset.delete()
        metadata = json.loads((folder / "out/metadata.json").read_text())
        samples = json.loads((folder / "out/samples.json").read_text())["samples"]
    fields = sorted((field(about) for about in metadata["sample_fields"]), key=lambda about: about["name"])
    samples = [plain(sample) for sample in samples]
    # The exporter names its copies as it likes.
    samples[0]["filepath"] = "data/a/image.png"
    samples[0]["cam"]["map_path"] = "fields/cam/a/image.png"
    lists = {"sample_fields": fields, "samples": samples}
    line = lambda document: "  " + json.dumps(document, sort_keys=True)
    texts = [f' "{name}": [\n' + ",\n".join(map(line, documents)) + "\n ]" for name, documents in lists.items()]
    pathlib.Path(__file__).with_suffix(".json").write_text("{\n" + ",\n".join(texts) + "\n}\n")


def read(folder):
    """Imports the dataset in `folder`."""
    dataset = fo.Dataset.from_dir(folder, dataset_type=fo.types.FiftyOneDataset)
    print(dataset)
    for sample in dataset:
        assert pathlib.Path(sample.filepath).is_file(), sample.filepath
        for name in dataset.get_field_schema(ftype=fo.EmbeddedDocumentField, embedded_doc_type=fo.Heatmap):
            heatmap = sample[name]
            if heatmap is not None:
                values = heatmap.get_map()
                print(sample.item, sample.role, name, values.shape, values.dtype, values.min(), values.max())
    # As strict as saving is: every value is of its field's type.
    for sample in dataset.iter_samples(autosave=True):
        sample.tags.append("read")
    dataset.delete()


if __name__ == "__main__":
    read(sys.argv[1]) if len(sys.argv) > 1 else golden()
