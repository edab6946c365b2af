"""The IDX format of the MNIST family, read with gzip and NumPy alone."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from jaxmlp.types import ArgumentError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX archive of unsigned bytes.

    The file starts with two zero bytes, the type of its numbers (8 for unsigned bytes) and the number
    of axes; then one big-endian 32-bit size an axis; then the numbers, last axis fastest.

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.
    """
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ArgumentError(f"archive '{path}' cannot be unpacked ({error}): download it again") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ArgumentError(
            f"archive '{path}' does not hold IDX bytes: give the original archive, still gzipped"
        )
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise ArgumentError(f"archive '{path}' ends within its header: download it again")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, offset=4))
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ArgumentError(
            f"archive '{path}' unpacks to {len(content)} bytes, its header promises {expected}: "
            f"download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
