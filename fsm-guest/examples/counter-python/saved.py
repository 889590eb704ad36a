"""What a snapshot looks like: a line with the number of counters, then one line for each,
`NAME VALUE`, in the order of their names. Equal states give equal bytes."""

import re
from collections.abc import Iterator
from itertools import chain, starmap

from counters import MAX_NAME_BYTES, MAX_VALUE, MIN_VALUE, Counters, Refusal

# A name, a space, a number of 64 bits.
MAX_LINE_BYTES = MAX_NAME_BYTES + 1 + 20

# What `int` takes besides, such as underscores and blanks, other languages do not.
NUMBER = re.compile(rb"-?[0-9]{1,19}")


def read_number(text: bytes) -> int:
    """A number of 64 bits in decimal, or ValueError."""
    if not NUMBER.fullmatch(text):
        raise ValueError("not a number")
    number = int(text)
    if not MIN_VALUE <= number <= MAX_VALUE:
        raise ValueError("more than 64 bits")
    return number


def line(name: bytes, value: int) -> bytes:
    return b"%b %d\n" % (name, value)


def save(counters: Counters) -> Iterator[bytes]:
    """The lines of a snapshot of the counters as they are now, made one by one."""
    frozen = counters.items()
    return chain([b"%d\n" % len(frozen)], starmap(line, frozen))


class Loader:
    """Counters that are being read from bytes that come in pieces. ValueError where the bytes are
    no snapshot."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._count: int | None = None
        # The beginning of a line whose end has not come yet.
        self._rest = b""

    def write(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for text in lines:
            self._read(text)
        if len(self._rest) > MAX_LINE_BYTES:
            raise ValueError("a line without an end")

    def finish(self) -> Counters:
        if self._rest or self._count != len(self.counters):
            raise ValueError("incomplete")
        return self.counters

    def _read(self, text: bytes) -> None:
        *name, digits = text.split(b" ")
        value = read_number(digits)
        if b"%d" % value != digits:
            raise ValueError("not in the one way in which it is written")
        if self._count is None and not name:
            self._count = value
        elif self._count is not None and len(name) == 1:
            self._push(name[0], value)
        else:
            raise ValueError("not a line of a snapshot")

    def _push(self, name: bytes, value: int) -> None:
        try:
            self.counters.push(name, value)
        except Refusal as refusal:
            raise ValueError(refusal.message) from refusal
