"""Packs GNU Unifont's glyphs into one file: see README.md beside the fonts."""
import gzip, struct, sys
from PIL import Image, ImageDraw, ImageFont
from fontTools.ttLib import TTFont
hexes, upper, out = sys.argv[1:]
glyphs = {}
for line in open(hexes):
    code, bits = line.strip().split(":")
    glyphs[int(code, 16)] = bytes.fromhex(bits)
# Outlines of the upper planes are squares of the bitmap: drawn at 16 pixels they are the bitmap.
font = ImageFont.truetype(upper, 16)
for code in sorted(TTFont(upper).getBestCmap()):
    if 0x1F000 <= code < 0x1FB00:
        wide = round(font.getlength(chr(code))) > 8
        image = Image.new("1", (16 if wide else 8, 16))
        draw = ImageDraw.Draw(image)
        draw.fontmode = "1"
        draw.text((0, 14), chr(code), 1, font=font, anchor="ls")
        glyphs[code] = image.tobytes()
glyphs = {c: g for c, g in glyphs.items() if c >= 0x20 and not 0x7F <= c < 0xA0 and not 0xD800 <= c < 0xF900}
runs, data = [], b""
for code in sorted(glyphs):
    width = len(glyphs[code]) // 2
    if runs and runs[-1][0] + runs[-1][1] == code and runs[-1][2] == width:
        runs[-1][1] += 1
    else:
        runs.append([code, 1, width])
    data += glyphs[code]
head = struct.pack("<I", len(runs)) + b"".join(struct.pack("<III", *run) for run in runs)
with open(out, "wb") as file:
    file.write(gzip.compress(head + data, 9, mtime=0))
print(len(glyphs), "glyphs in", len(runs), "runs")
