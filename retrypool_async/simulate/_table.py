"""Reading the tables of a scenario: whatever is wrong with a field, the error names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import TypeGuard, cast


class BadScenario(ValueError):
    """A scenario cannot be used. The message names the field and says what is allowed."""


class Table:
    """A table of fields. Each is asked for by name; `finish` refuses those that nobody asked for.

    Args:
        value: What should be a table.
        path: Where it stands in the scenario, "" for the scenario itself.
        allowed: What is said to be allowed when it is not a table.

    Raises:
        BadScenario: It is not a table. So do all methods when a field is missing or wrong.
    """

    def __init__(self, value: object, path: str, allowed: str = "a table") -> None:
        if not isinstance(value, Mapping):
            raise BadScenario(f"{path or 'a scenario'} must be {allowed}, got {_shown(value)}")
        self._fields = cast("Mapping[str, object]", value)
        self._asked: list[str] = []
        self.path = path

    def where(self, name: object) -> str:
        """The full name of a field."""
        return f"{self.path}.{name}" if self.path else str(name)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def get(self, name: str) -> object:
        """The field as it is, None when it is not there."""
        self._asked.append(name)
        return self._fields.get(name)

    def need(self, name: str) -> object:
        """The field as it is, which must be there."""
        if name not in self._fields:
            raise BadScenario(f"{self.where(name)} is missing")
        return self.get(name)

    def number(
        self, name: str, default: float | None = None, *, above: float | None = None
    ) -> float:
        """A finite number that is at least 0, or more than `above`."""
        value = self.need(name) if default is None else self.get(name)
        if value is None and default is not None:
            return default
        return number(value, self.where(name), above=above)

    def optional(self, name: str) -> float | None:
        """A number above 0, or None when it is not there."""
        return self.number(name, above=0.0) if name in self else None

    def share(self, name: str, default: float | None = None) -> float:
        """A number from 0 to 1."""
        value = self.number(name, default)
        if value > 1:
            raise BadScenario(f"{self.where(name)} must be from 0 to 1, got {value:g}")
        return value

    def count(self, name: str, default: int | None = None, *, at_least: int = 0) -> int:
        """A whole number."""
        value = self.need(name) if default is None else self.get(name)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadScenario(f"{self.where(name)} must be a whole number, got {_shown(value)}")
        if value < at_least:
            raise BadScenario(f"{self.where(name)} must be at least {at_least}, got {value}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false when it is not there."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise BadScenario(f"{self.where(name)} must be true or false, got {_shown(value)}")
        return value is True

    def text(self, name: str) -> str:
        """A string that is not empty."""
        value = self.need(name)
        if not isinstance(value, str) or not value:
            raise BadScenario(f"{self.where(name)} must be a text, got {_shown(value)}")
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of `choices`; the first when it is not there."""
        value = self.get(name)
        if value is None:
            return choices[0]
        if value not in choices:
            known = ", ".join(f'"{choice}"' for choice in choices)
            raise BadScenario(f"{self.where(name)} must be one of {known}; got {_shown(value)}")
        return cast("str", value)

    def table(self, name: str) -> Table:
        """A table within this one; an empty one when it is not there."""
        value = self.get(name)
        return Table({} if value is None else value, self.where(name))

    def tables(self, name: str) -> list[Table]:
        """A list of tables; none when it is not there."""
        values = self.get(name)
        items = [] if values is None else listed(values, self.where(name))
        return [Table(item, f"{self.where(name)}[{n}]") for n, item in enumerate(items)]

    def finish(self) -> None:
        """Refuse the fields that have not been asked for: they are misspelt, or elsewhere."""
        for name in self._fields:
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise BadScenario(f"{self.where(name)} is not a field; known here: {known}")


def number(value: object, where: str, *, above: float | None = None) -> float:
    """A finite number that is at least 0, or more than `above`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadScenario(f"{where} must be a number, got {_shown(value)}")
    try:
        result = float(value)
    except OverflowError:
        raise BadScenario(f"{where} must fit a float") from None
    if not isfinite(result):
        raise BadScenario(f"{where} must be finite, got {result}")
    if above is not None and result <= above:
        raise BadScenario(f"{where} must be above {above:g}, got {result:g}")
    if result < 0:
        raise BadScenario(f"{where} must be at least 0, got {result:g}")
    return result


def listed(value: object, where: str) -> list[object]:
    """A list, which must not be empty."""
    if not is_list(value) or not value:
        raise BadScenario(f"{where} must be a list with something in it, got {_shown(value)}")
    return list(value)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """True for what TOML calls an array."""
    return isinstance(value, (list, tuple))


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
