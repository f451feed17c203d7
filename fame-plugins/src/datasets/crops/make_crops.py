"""Makes h5/*.h5: 2x3 pictures (two rows, three columns) as the FAME authors' crops lie on disk, in the forms that h5py writes.

    python make_crops.py h5        (Python 3.11, h5py 3.16)

Value of row y, column x, channel c: 60 * y + 20 * x + c as bytes, the same over 255 as floats.
"""

import sys
from pathlib import Path

import h5py
import numpy


def main() -> None:
    folder = Path(sys.argv[1])
    y, x, c = numpy.meshgrid(range(2), range(3), range(3), indexing="ij")
    values = (60 * y + 20 * x + c).astype(numpy.uint8)
    forms = {
        "id0_plain": (values, {}),
        "id0_packed": (values, {"chunks": (1, 3, 3), "compression": "gzip", "shuffle": True}),
        "id0_latest": (values, {"libver": "latest"}),
        "id0_float": ((values / 255).astype(numpy.float32), {}),
        "id0_double": (values / 255, {}),
        "id0_loud": (values.astype(numpy.float32), {}),
        "id0_gray": (values[:, :, 0], {}),
    }
    for name, (data, how) in forms.items():
        libver = how.pop("libver", None)
        with h5py.File(folder / f"{name}.h5", "w", libver=libver, track_order=False) as file:
            file.create_dataset("data", data=data, **how)
    with h5py.File(folder / "id0_other.h5", "w") as file:
        file.create_dataset("crop", data=values)


main()
