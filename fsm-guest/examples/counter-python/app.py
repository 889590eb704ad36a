"""The counters as a component: the world of wit/fsm.wit, filled in."""

from collections.abc import Callable

from componentize_py_types import Err, Ok, Result
from wit_world import exports
from wit_world.imports.types import Context, Description, Entry, Event, Failure, Outcome

import state_machine
from counters import Refusal
from saved import line, read_number

# Counters in one answer to `list`.
PAGE = 1000


class StateMachine(exports.StateMachine):
    def describe(self) -> Description:
        return state_machine.DESCRIPTION

    def apply(self, batch: list[Entry]) -> list[Result[Outcome, Failure]]:
        return [attempt(run, entry.command) for entry in batch]

    def query(self, now: Context, batch: list[bytes]) -> list[Result[bytes, Failure]]:
        return [attempt(answer, query) for query in batch]


def attempt[T](work: Callable[[list[bytes]], T], text: bytes) -> Result[T, Failure]:
    """What work gives, or why it refuses. Any other exception is a trap, and ends the instance."""
    try:
        return Ok(work(words(text)))
    except Refusal as refusal:
        return Err(Failure(refusal.code, refusal.message))


def words(text: bytes) -> list[bytes]:
    # A command may end in a line feed, as one that comes from `echo` does.
    return text.removesuffix(b"\n").split(b" ")


def run(command: list[bytes]) -> Outcome:
    counters = state_machine.live
    match command:
        case [b"add", name, digits]:
            value = b"%d" % counters.add(name, amount(digits))
            return outcome(name, value, value)
        case [b"remove", name]:
            # A counter that is gone has no value to tell.
            return outcome(name, b"%d" % counters.remove(name), b"")
    raise Refusal(1, "commands are `add NAME N` and `remove NAME`")


def outcome(name: bytes, response: bytes, data: bytes) -> Outcome:
    return Outcome(response, [Event(name.decode("ascii"), data)])


def amount(digits: bytes) -> int:
    try:
        return read_number(digits)
    except ValueError:
        raise Refusal(1, "N is a whole number of 64 bits") from None


def answer(query: list[bytes]) -> bytes:
    counters = state_machine.live
    match query:
        case [b"get", name]:
            return b"%d" % counters.get(name)
        case [b"list"]:
            return page(b"")
        case [b"list", after]:
            return page(after)
    raise Refusal(1, "queries are `get NAME` and `list`, `list AFTER`")


def page(after: bytes) -> bytes:
    return b"".join(line(name, value) for name, value in state_machine.live.page(after, PAGE))
