"""Writes resample.json: a synthetic picture resized by Pillow, in single precision (mode F) and in bytes (mode L).

In bytes Pillow resizes rows, rounds and clips to 0..255, then columns, rounds and clips. Mode F is led the same way, but without the rounding.

    python resample.py > resample.json          (Pillow 13.0.0 made the committed file)

The picture's three planes are a ramp, a checkerboard and a product of waves; `plane` here and in resample.rs must say the same.
"""

import json
import math

from PIL import Image

WIDTH, HEIGHT = 37, 29
FILTERS = {"Bilinear": Image.BILINEAR, "Bicubic": Image.BICUBIC, "Nearest": Image.NEAREST, "Lanczos": Image.LANCZOS}


def plane(channel, y, x):
    if channel == 0:
        byte = 5 * x + 2 * y
    elif channel == 1:
        byte = 255 * ((x // 3 + y // 4) % 2)
    else:
        byte = math.floor(127.5 + 127.4 * math.sin(0.9 * x) * math.cos(0.4 * y))
    return byte


def clipped(mode, size, values):
    picture = Image.new(mode, size)
    picture.putdata([min(max(v, 0), 1) for v in values])
    return picture


def main():
    cases = []
    for name, number in FILTERS.items():
        for width, height in [(9, 7), (16, 40)]:
            single, byte = [], []
            for channel in range(3):
                values = [plane(channel, y, x) for y in range(HEIGHT) for x in range(WIDTH)]
                picture = Image.new("L", (WIDTH, HEIGHT))
                picture.putdata(values)
                byte += picture.resize((width, height), number).get_flattened_data()
                rows = clipped("F", (WIDTH, HEIGHT), [v / 255 for v in values]).resize((width, HEIGHT), number)
                rows = clipped("F", rows.size, rows.get_flattened_data())
                single += [round(min(max(v, 0), 1), 6) for v in rows.resize((width, height), number).get_flattened_data()]
            cases.append({"filter": name, "width": width, "height": height, "single": single, "byte": byte})
    print("[" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "]")


main()
