"""The keys of the service upstream, and what each is allowed. Both ends of the example read it."""

from typing import NamedTuple


class Key(NamedTuple):
    name: str  # shown in logs: never the secret
    secret: str
    requests: int  # in any `PER` seconds


PER = 1.0
KEYS = [Key("basic", "sk-basic-1", 5), Key("pro", "sk-pro-2", 10)]
