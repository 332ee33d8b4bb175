"""A limit on the pool: T42, six settings in both modes."""

from __future__ import annotations

import pytest

from retrypool_async import Bucket, Pool, Quota
from tests.pool.probe import Probe
from tests.seed.modes import BOTH_MODES


@BOTH_MODES
@pytest.mark.parametrize(
    ("rate", "count"), [(10, 10), (100, 50), (2, 6), (5, 20), (1, 5), (8, 15)], ids=str
)
async def test_starts_keep_to_the_rate(rate: int, count: int, concurrency: int | None) -> None:
    """T42: two at once, as in Go, where the bucket holds twice the workers; then one by one."""
    worker = Probe("w")
    quota = Quota(Bucket(2, per=2 / rate))
    async with Pool([worker], quota=quota, concurrency=concurrency, debug=True) as pool:
        for n in range(count):
            pool.submit(n)
        await pool.join()
    assert worker.starts == pytest.approx([0, *(n / rate for n in range(count - 1))])
