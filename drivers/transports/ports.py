"""What is plugged in: serial ports and VISA resources, and who answers there.

Looking sends nothing to anybody: the system's own lists are read. Only a probe opens ports, and
it asks two questions that are known to move no output.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from eqp_hw.drivers.errors import ProtocolError, TransportError, TransportTimeout
from eqp_hw.errors import EqpError
from eqp_hw.registry import Listing

from .factory import make_transport
from .interface import Transport
from .port_access import permission_advice

__all__ = ["ask_identity", "find_ports"]

DEADLINE_S = 0.5
"""Of one answer to a probe."""
QUESTIONS = (b"*IDN?\r\n", b"id?\n")
"""IEEE 488.2 (and Arduino boards, which want the carriage return), then Qontrol."""
_QUIET_S = 0.05
_LONGEST = 1000
_REFUSAL = re.compile(r"[A-Za-z]{1,3}\d{1,3}:\d{1,5}")
"""Qontrol's line about a command that it does not know."""
_MISSING = "is not installed: pip install 'eqp_hw[instruments]'"


def find_ports(*, probe: bool = False, addresses: Sequence[str] = ()) -> list[Listing]:
    """Return the serial ports and VISA resources of this computer, each with its address.

    Parameters
    ----------
    probe
        Open each one and ask who is there (`ask_identity`); look for VISA resources in the local
        network and on GPIB too.
    addresses
        Further addresses, as in a rig file, that nobody announces: TCP ports, pseudo-terminals.

    Returns
    -------
    Names are addresses for a rig file; the options hold what else is known: ``usb`` (VID:PID in
    hexadecimal digits), ``visa`` (resource string), ``answer``. A missing library is an entry of
    its own, unavailable because of it.

    Raises
    ------
    ConfigurationError
        One of ``addresses`` is none.
    """
    given = [(address, make_transport(address, timeout_s=DEADLINE_S)) for address in addresses]
    found = [*_serial_ports(), *_visa_resources(everywhere=probe)]
    if not probe:
        return [*found, *(Listing(address, "as given") for address, _ in given)]
    asked = []
    for one in found:
        if one.unavailable_because is None:
            wire = make_transport(one.name, timeout_s=DEADLINE_S, reset_on_open=False)
            asked.append(_with_answer(one, wire))
        else:
            asked.append(one)
    return [*asked, *(_with_answer(Listing(address, "as given"), wire) for address, wire in given)]


def ask_identity(wire: Transport) -> tuple[str, str] | None:
    """Ask ``*IDN?``, then ``id?``; return the question and what was answered first.

    Returns
    -------
    Lines of the answer joined by ", "; None where nobody answers.

    Raises
    ------
    TransportError
        The wire cannot be used; it is closed again in any case.
    """
    try:
        wire.open()
        wire.drain(quiet_s=_QUIET_S)
        for question in QUESTIONS:
            wire.write(question)
            text = _reply(wire)
            if text and not _REFUSAL.match(text):
                return question.decode().strip(), text
    finally:
        wire.close()
    return None


def _reply(wire: Transport) -> str:
    try:
        data = wire.read_until(b"\n", timeout_s=DEADLINE_S, longest=_LONGEST) + b"\n"
    except (TransportTimeout, ProtocolError):
        data = b""
    # A chain says a line a module; an answer without a line end is one too.
    data += wire.drain(quiet_s=_QUIET_S)
    lines = (line.strip("\r\x00 ") for line in data.decode("ascii", "replace").split("\n"))
    return ", ".join(line for line in lines if line)[:_LONGEST]


def _with_answer(port: Listing, wire: Transport) -> Listing:
    reason = None
    try:
        answer = ask_identity(wire)
        text = "nobody answers *IDN? or id?" if answer is None else f"{answer[0]} {answer[1]}"
        options = {**port.options, "answer": text}
    except TransportError as error:
        options = dict(port.options)
        reason = error.problem + (f" ({error.advice})" if error.advice else "")
    except EqpError as error:
        options, reason = dict(port.options), str(error)
    return Listing(port.name, port.description, reason, options)


def _serial_ports() -> Iterator[Listing]:
    try:
        from serial.tools.list_ports import comports  # noqa: PLC0415 - an extra
    except ImportError:
        yield Listing("serial:*", "serial ports", f"pyserial {_MISSING}")
        return
    for port in sorted(comports()):
        options = {}
        about = port.description if port.description not in {None, "n/a"} else "serial port"
        if port.vid is not None and port.pid is not None:
            options["usb"] = f"{port.vid:04x}:{port.pid:04x}"
            about += f", USB {options['usb']}"
        if port.serial_number:
            about += f", serial number {port.serial_number}"
        number = port.device[3:] if sys.platform == "win32" else port.device
        options["visa"] = f"ASRL{number}::INSTR"
        yield Listing(f"serial:{port.device}", about, _denied(port.device), options)


def _denied(path: str) -> str | None:
    if os.name != "posix" or not os.path.exists(path) or os.access(path, os.R_OK | os.W_OK):
        return None
    return f"no permission to open it ({permission_advice(path)})"


def _visa_resources(*, everywhere: bool) -> Iterator[Listing]:
    try:
        import pyvisa  # noqa: PLC0415 - an extra
        import pyvisa_py  # noqa: F401, PLC0415 - an extra
    except ImportError:
        yield Listing("visa:*", "VISA resources", f"pyvisa {_MISSING}")
        return
    with warnings.catch_warnings():
        # pyvisa-py warns of every further library with which it would find more.
        warnings.simplefilter("ignore")
        try:
            names = _search_everywhere(pyvisa) if everywhere else _plugged_in()
        except (OSError, ValueError, pyvisa.Error) as error:
            yield Listing("visa:*", "VISA resources", f"the search failed: {error}")
            return
    for name in sorted(names):
        # Serial ports stand in the list already.
        if not name.startswith(("ASRL", "PRLGX")):
            yield Listing(f"visa:{name}", "VISA resource", None, {"visa": name})


def _search_everywhere(pyvisa: Any) -> set[str]:
    manager = pyvisa.ResourceManager("@py")
    try:
        return set(manager.list_resources("?*"))
    finally:
        manager.close()


def _plugged_in() -> set[str]:
    """Return USB instruments; looking for others would send something into a net or a bus."""
    from pyvisa.constants import InterfaceType  # noqa: PLC0415 - an extra
    from pyvisa_py.sessions import Session  # noqa: PLC0415 - an extra

    names: set[str] = set()
    for (interface, _), kind in Session.iter_valid_session_classes():
        if interface is InterfaceType.usb:
            # Without rights or a USB library there is nothing to be seen.
            with contextlib.suppress(OSError, ValueError, NotImplementedError):
                names.update(kind.list_resources())
    return names
