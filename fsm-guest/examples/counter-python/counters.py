"""Named counters. Nothing here knows what a component is."""

from bisect import bisect_left, bisect_right, insort

MAX_NAME_BYTES = 64
MAX_COUNTERS = 65536
MIN_VALUE, MAX_VALUE = -(2**63), 2**63 - 1


class Refusal(Exception):
    """A refusal, which every node has to come to in the same way."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Counters:
    """Counters by name. What is refused has no effect."""

    def __init__(self) -> None:
        self._values: dict[bytes, int] = {}
        # In order, so that equal states have equal snapshots.
        self._names: list[bytes] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: bytes, amount: int) -> int:
        """Adds to a counter, which starts from 0, and gives its new value."""
        check_name(name)
        value = self._values.get(name, 0) + amount
        if not MIN_VALUE <= value <= MAX_VALUE:
            raise Refusal(11, "the counter would leave the range of 64-bit numbers")
        if name not in self._values:
            if len(self) == MAX_COUNTERS:
                raise Refusal(12, f"there are {MAX_COUNTERS} counters, and no room for more")
            insort(self._names, name)
        self._values[name] = value
        return value

    def remove(self, name: bytes) -> int:
        """Removes a counter, and gives its last value."""
        value = self.get(name)
        del self._values[name]
        del self._names[bisect_left(self._names, name)]
        return value

    def get(self, name: bytes) -> int:
        check_name(name)
        if name not in self._values:
            raise Refusal(10, "there is no such counter")
        return self._values[name]

    def page(self, after: bytes, most: int) -> list[tuple[bytes, int]]:
        """The first counters whose names come after `after`, in order."""
        start = bisect_right(self._names, after)
        return [(name, self._values[name]) for name in self._names[start : start + most]]

    def push(self, name: bytes, value: int) -> None:
        """Puts a counter behind all others, if it belongs there."""
        if self._names and name <= self._names[-1]:
            raise ValueError("names are in order")
        self.add(name, value)

    def items(self) -> list[tuple[bytes, int]]:
        return self.page(b"", len(self))


def check_name(name: bytes) -> None:
    if not 1 <= len(name) <= MAX_NAME_BYTES or not all(b" "[0] < byte <= b"~"[0] for byte in name):
        raise Refusal(1, "a name has 1 to 64 characters of printable ASCII, and no space")
