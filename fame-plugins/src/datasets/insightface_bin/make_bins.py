"""Makes bins/*.bin: three pairs of 2x2 PNG pictures, pickled in every way that insightface's sets are found in.

    python make_bins.py bins        (Python 3.11, numpy 2.4)

Picture n is one colour: red 40 * n. Pairs 0 and 2 are genuine.
"""

import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy


def png(red: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes([red, 0, 0]) * 2
    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row * 2, 9)) + chunk(b"IEND", b"")


def python2(pictures: list[bytes], same: list[bool]) -> bytes:
    """What Python 2's pickle.dump((bins, issame_list), f, pickle.HIGHEST_PROTOCOL) writes: its byte strings are `str`."""
    out = b"\x80\x02]q\x01("
    for picture in pictures:
        out += b"U" + bytes([len(picture)]) + picture if len(picture) < 256 else b"T" + struct.pack("<i", len(picture)) + picture
    out += b"e]q\x02(" + b"".join(b"\x88" if s else b"\x89" for s in same) + b"e\x86q\x03."
    assert pickle.loads(out, encoding="bytes") == (pictures, same)
    return out


def main() -> None:
    folder = Path(sys.argv[1])
    pictures, same = [png(40 * n) for n in range(6)], [True, False, True]
    arrays = [numpy.frombuffer(p, dtype=numpy.uint8) for p in pictures]
    forms = {
        "protocol2": pickle.dumps((pictures, same), protocol=2),
        "protocol3": pickle.dumps((pictures, same), protocol=3),
        "protocol4": pickle.dumps((pictures, same), protocol=4),
        "protocol5": pickle.dumps([pictures, same], protocol=5),
        "python2": python2(pictures, same),
        "arrays2": pickle.dumps((arrays, same), protocol=2),
        "arrays4": pickle.dumps((arrays, numpy.array(same)), protocol=4),
        "scalars4": pickle.dumps((pictures, list(numpy.array(same))), protocol=4),
    }
    for name, data in forms.items():
        (folder / f"{name}.bin").write_bytes(data)
        print(name, len(data))


main()
