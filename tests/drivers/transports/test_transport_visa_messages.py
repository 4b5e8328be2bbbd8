"""Message-based VISA resources, on a stand-in for the library: nothing is read unasked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import pyvisa
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource
from transport_peers import Script, make_session, volts

from eqp_hw.drivers.errors import BusyError, LostError, TransportTimeout
from eqp_hw.drivers.transports.factory import make_transport
from eqp_hw.errors import UnavailableError

TMO = pyvisa.VisaIOError(StatusCode.error_timeout)


class Library:
    """Reads give whole messages; one that is not there is an error on the instrument."""

    def __init__(self) -> None:
        self.script = Script()
        self.messages: list[bytes] = []
        self.reads_in_vain = 0
        self.cleared = 0
        self.failure: Exception | None = None

    def write(self, session: int, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        for line in data.splitlines():
            self.messages.append(self.script(line))

    def read(self, session: int, count: int) -> tuple[bytes, StatusCode]:
        if self.failure is not None:
            raise self.failure
        if not self.messages or not self.messages[0]:
            self.reads_in_vain += 1
            self.messages.clear()
            raise TMO
        return self.messages.pop(0), StatusCode.success


class Resource(MessageBasedResource):
    def __init__(self, library: Library) -> None:
        self.library = library
        self.timeout_ms = 0.0
        self.closed = False

    visalib = property(lambda self: self.library)
    session = property(lambda self: 1)
    timeout = property(
        lambda self: self.timeout_ms, lambda self, value: setattr(self, "timeout_ms", value)
    )

    def ignore_warning(self, *codes: StatusCode):  # type: ignore[no-untyped-def]
        import contextlib

        return contextlib.nullcontext()

    def clear(self) -> None:
        self.library.cleared += 1
        self.library.messages.clear()

    def close(self) -> None:
        self.closed = True

    def __del__(self) -> None:
        pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    manager = SimpleNamespace(open_resource=lambda name, open_timeout: Resource(library))
    monkeypatch.setattr(pyvisa, "ResourceManager", lambda backend: manager)
    return library


ADDRESS = "visa:USB0::0x1313::0x8078::P0012345::INSTR"


def test_a_dialogue_reads_only_what_is_due(library: Library) -> None:
    session = make_session(make_transport(ADDRESS))
    session.open()
    assert session.ask(b"V3?", volts) == 3.0
    assert session.ask_block(b"block?") == bytes(range(16))
    session.command(b"V1?")
    assert session.take_events() == []
    session.close()
    assert library.reads_in_vain == 0


def test_a_timeout_clears_the_instrument(library: Library) -> None:
    library.script = Script((b"V1?", b""))
    session = make_session(make_transport(ADDRESS))
    session.open()
    cleared = library.cleared
    with pytest.raises(TransportTimeout):
        session.query(b"V1?")
    library.messages.append(b"+1.0000 V\n")
    assert session.ask(b"V2?", volts) == 2.0
    assert library.cleared == cleared + 1
    assert library.reads_in_vain == 1


@pytest.mark.parametrize(
    "failure",
    [
        pyvisa.VisaIOError(StatusCode.error_connection_lost),
        BrokenPipeError(32, "Broken pipe"),
        RuntimeError("something of a driver's"),
    ],
)
def test_raw_exceptions_become_ours(library: Library, failure: Exception) -> None:
    wire = make_transport(ADDRESS)
    wire.open()
    library.failure = failure
    with pytest.raises(LostError, match="the connection broke"):
        wire.write(b"x\n")
    with pytest.raises(LostError, match="the connection broke"):
        wire.read_until()
    wire.close()


@pytest.mark.parametrize(
    ("failure", "expected", "words"),
    [
        (pyvisa.VisaIOError(StatusCode.error_resource_busy), BusyError, "in use"),
        (pyvisa.VisaIOError(StatusCode.error_resource_not_found), LostError, "cannot be opened"),
        (Exception("could not connect"), LostError, "could not connect"),
        (ValueError("Please install PyUSB to use this"), UnavailableError, "install PyUSB"),
    ],
)
def test_what_goes_wrong_when_opening(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: type[Exception], words: str
) -> None:
    def refuse(name: str, open_timeout: int) -> None:
        raise failure

    manager = SimpleNamespace(open_resource=refuse)
    monkeypatch.setattr(pyvisa, "ResourceManager", lambda backend: manager)
    wire = make_transport(ADDRESS)
    with pytest.raises(expected, match=words):
        wire.open()
    assert not wire.is_open
