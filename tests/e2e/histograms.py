"""SPDK's layout of a histogram, read without SPDK and without ours."""

import base64
import itertools
import struct


def decode(answer):
    """(first value, count) of each bucket that is not empty."""
    assert set(answer) == {"histogram", "granularity", "min_range", "max_range", "tsc_rate"}
    per_range = 1 << answer["granularity"]
    raw = base64.b64decode(answer["histogram"], validate=True)
    counts = struct.unpack(f"<{len(raw) // 8}Q", raw)
    ranges = range(answer["min_range"], answer["max_range"] + 1)
    assert len(counts) == len(ranges) * per_range
    buckets = []
    for (r, j), count in zip(itertools.product(ranges, range(per_range)), counts):
        first = j if r == 0 else (per_range + j) << (r - 1)
        if count:
            buckets.append((first, count))
    return buckets
