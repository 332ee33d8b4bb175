"""Keeps registered secrets out of the log."""

from __future__ import annotations

import logging

from ._attempt import masked

logger = logging.getLogger("retrypool_async")
_formatter = logging.Formatter()


class SecretFilter(logging.Filter):
    """Masks secrets in messages and in the tracebacks that go with them."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets: tuple[str, ...] = ()

    def filter(self, record: logging.LogRecord) -> bool:
        if self.secrets:
            record.msg = masked(record.getMessage(), self.secrets)
            record.args = None
            if record.exc_info:
                text = record.exc_text or _formatter.formatException(record.exc_info)
                record.exc_text = masked(text, self.secrets)
                record.exc_info = None  # a formatter would print it again, unmasked
        return True


_filter = SecretFilter()


def mask_logs(secrets: tuple[str, ...]) -> None:
    """Mask `secrets` in everything this library logs from now on, for every pool."""
    _filter.secrets = tuple(dict.fromkeys((*_filter.secrets, *secrets)))
    if _filter not in logger.filters:
        logger.addFilter(_filter)
