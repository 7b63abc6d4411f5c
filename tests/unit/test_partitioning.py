"""Where a key belongs: the golden values of Kafka's own test-suite (`UtilsTest.testMurmur2`)."""

from __future__ import annotations

import pytest

from streams.partitioning import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_kafkas(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32
    assert partition_of(key, 8) == (signed & 0x7FFFFFFF) % 8


def test_any_key_has_a_partition() -> None:
    assert {partition_of(b"%d" % number, 3) for number in range(50)} == {0, 1, 2}
    assert partition_of(b"", 3) in range(3)
