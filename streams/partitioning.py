"""Which partition a key belongs to: as Kafka's default partitioner says, on either engine."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF
_WORD = Struct("<I")


def partition_of(key: bytes, partitions: int) -> int:
    """Kafka's `toPositive(murmur2(key)) % partitions`."""
    return (_remembered(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 with Kafka's seed, as an unsigned 32-bit integer.

    The reference is `org.apache.kafka.common.utils.Utils.murmur2`, which gives the same bits, signed. Our
    own, since a client library for Kafka is much to load for one function.
    """
    length = len(data)
    whole = length & ~3
    h = _SEED ^ length
    for (word,) in _WORD.iter_unpack(data[:whole]):
        k = word * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


# A subject's toggle, its decisions and its acknowledgements follow each other, all under the same key.
_remembered = lru_cache(maxsize=16_384)(murmur2)
