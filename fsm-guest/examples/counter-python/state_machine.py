"""The state, and the resources that read and replace it. componentize-py looks for the resources
of an exported interface in a module that has the interface's name."""

from typing import Self

from componentize_py_types import Err
from wit_world.exports import state_machine
from wit_world.imports.types import Description, Failure

from counters import Counters
from saved import Loader, save

NAME = "counter"
SCHEMA = 1

DESCRIPTION = Description(
    name=NAME,
    version="0.1.0-python",
    schema=SCHEMA,
    reads_schemas=[SCHEMA],
    protocols=["rkv:counter@1"],
)


# The state. Commands change it, a restore replaces it.
live = Counters()


class Snapshot(state_machine.Snapshot):
    def __init__(self) -> None:
        self._lines = save(live)
        # The end of a line whose beginning was read.
        self._rest = b""

    def read(self, max_bytes: int) -> bytes:
        wanted = max(max_bytes, 1)
        chunk = bytearray(self._rest)
        while len(chunk) < wanted and (text := next(self._lines, None)):
            chunk += text
        self._rest = bytes(chunk[wanted:])
        return bytes(chunk[:wanted])


class Restore(state_machine.Restore):
    def __init__(self, saved: Description) -> None:
        # A constructor cannot fail, so the first write or the end does.
        self._loader = Loader() if (saved.name, saved.schema) == (NAME, SCHEMA) else None

    def write(self, chunk: bytes) -> None:
        loader = self._expect_loader()
        try:
            loader.write(chunk)
        except ValueError as error:
            raise damaged() from error

    @classmethod
    def finish(cls, this: Self) -> None:
        global live
        loader = this._expect_loader()
        try:
            live = loader.finish()
        except ValueError as error:
            raise damaged() from error

    def _expect_loader(self) -> Loader:
        if self._loader is None:
            raise Err(Failure(5, "a snapshot of another state machine or schema"))
        return self._loader


def damaged() -> Err[Failure]:
    return Err(Failure(4, "these bytes are no snapshot of counters"))
