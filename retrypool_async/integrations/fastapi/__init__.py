"""Pools in a FastAPI application.

An application declares each pool once, as a `PoolDependency`; `lifespan` opens and closes it with
the application, endpoints get it by `Depends`. `add_exception_handlers` answers 503 where a pool
refuses, `while_connected` gives a task up with its client, and `status_endpoint` is a page for
load balancers and dashboards.
"""

from ._connection import while_connected
from ._dependency import PoolDependency
from ._lifespan import lifespan
from ._refusals import add_exception_handlers
from ._status import PoolStatus, status_endpoint

__all__ = [
    "PoolDependency",
    "lifespan",
    "add_exception_handlers",
    "while_connected",
    "PoolStatus",
    "status_endpoint",
]
