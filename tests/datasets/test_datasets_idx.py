"""The IDX format: read exactly, and every way in which a file can be damaged is noticed."""

import gzip

import numpy as np
import pytest

from jaxmlp.datasets.idx import read_idx
from jaxmlp.types import ArgumentError


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2), (0, 28, 28), (1, 300)])
def test_an_archive_is_read_as_written(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx_bytes(array)))
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert read.shape == shape
    assert np.array_equal(read, array)


SOUND = idx_bytes(np.arange(10))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(SOUND[:-1]), "unpacks to 17 bytes, its header promises 18"),
        (gzip.compress(SOUND + b"x"), "unpacks to 19 bytes"),
        (gzip.compress(SOUND[:6]), "ends within its header"),
        (gzip.compress(b"\0\0"), "does not hold IDX bytes"),
        (gzip.compress(b"\0\0\x0d\x01" + SOUND[4:]), "does not hold IDX bytes"),
        (gzip.compress(b""), "does not hold IDX bytes"),
        (gzip.compress(SOUND)[:-4], "cannot be unpacked"),
        (
            gzip.compress(SOUND)[:10] + b"\x07" * 12,
            "cannot be unpacked",
        ),  # a block of a type that does not exist
        (SOUND, "cannot be unpacked"),
    ],
    ids=[
        "a byte short",
        "a byte long",
        "a header cut short",
        "no header",
        "an unknown type",
        "empty",
        "a truncated stream",
        "a broken block",
        "not packed",
    ],
)
def test_a_damaged_archive_is_refused(tmp_path, content, message):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        read_idx(path)


def test_a_missing_archive_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be unpacked"):
        read_idx(tmp_path / "a.gz")
