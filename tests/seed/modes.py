"""The two modes of the Go library: a loop for each worker, or one loop for all of them."""

import pytest

BOTH_MODES = pytest.mark.parametrize("concurrency", [None, 1], ids=["asynchronous", "synchronous"])
