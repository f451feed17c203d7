"""The numbers that Python and Rust make alike, bit for bit.

    h = (i * MULTIPLIER[stream]) mod 2^32
    h = h xor (h >> 15)
    h = (h * 0x2C1B3C6D) mod 2^32
    h = h xor (h >> 12)
    x[i] = (h >> 8) / 2^23 - 1            in [-1, 1)

`i` counts from `start`, which is 0 unless a golden says otherwise (`input_start`).

Everything up to `h >> 8` is integer arithmetic, and a 24-bit integer over 2^23, minus 1, is exact in f32: no rounding
that two languages could do differently. The two xor-shifts are there because multiples of a constant alone form stripes,
and stripes excite few of a network's channels. In Rust:

    fn noise(i: u32, multiplier: u32) -> f32 {
        let h = i.wrapping_mul(multiplier);
        let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        let h = h ^ (h >> 12);
        (h >> 8) as f32 / 8_388_608.0 - 1.0
    }
"""

from __future__ import annotations

import numpy as np

INPUT, COTANGENT = 1, 2
MULTIPLIER = {INPUT: 2654435761, COTANGENT: 2246822519}


def noise(count: int, stream: int, start: int = 0) -> np.ndarray:
    i = np.arange(start, start + count, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(MULTIPLIER[stream])) & mask
    h ^= h >> np.uint64(15)
    h = (h * np.uint64(0x2C1B3C6D)) & mask
    h ^= h >> np.uint64(12)
    return ((h >> np.uint64(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)).astype(np.float32)
