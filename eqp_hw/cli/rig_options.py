"""What commands that take a rig share: ``--rig``, ``--virtual-lab``, ``--truth-seed``."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from eqp_hw.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from eqp_hw.rig.load import Rig
    from eqp_hw.substrate import SelfTestStep

__all__ = [
    "ENTRY_POINT_GROUP",
    "calibration_choice",
    "opened_rig",
    "rig_override",
    "rig_tool",
    "terminable",
]

ENTRY_POINT_GROUP = "eqp_hw.rig_tools"
"""What the drivers offer to commands: names → functions that yield named steps."""


def rig_override(
    rig: Path | None,
    virtual_lab: bool,
    truth_seed: int | None,
    calibration: str | None = None,
    *,
    rehearse: bool = False,
) -> list[str]:
    """Return the override that replaces ``[substrate]`` of an experiment by a rig.

    To rehearse is to take the rig's twin on the emulator: no instruments, real or simulated.

    Raises
    ------
    ConfigurationError
        An option that means nothing without another one.
    """
    from eqp_hw.experiment.toml_file import render_toml

    refuse_lone_options(rig is not None, virtual_lab, truth_seed)
    if rig is None:
        if rehearse:
            raise ConfigurationError(
                "there is no rig to rehearse", field="--rehearse", allowed="together with --rig"
            )
        if calibration is not None:
            raise ConfigurationError(
                "only a rig has one",
                field="--calibration",
                value=calibration,
                allowed="together with --rig",
            )
        return []
    if rehearse and virtual_lab:
        raise ConfigurationError(
            "a rehearsal talks to no instruments, not even to simulated ones",
            field="--rehearse",
            allowed="without --virtual-lab",
        )
    table: dict[str, object] = {
        "kind": "twin" if rehearse else "rig",
        "file": str(rig.expanduser().absolute()),
    }
    if virtual_lab:
        table |= {"virtual_lab": True, "truth_seed": truth_seed or 0}
    if calibration is not None:
        table["calibration"] = calibration_choice(calibration)
    inline = ", ".join(render_toml(table).strip().splitlines())
    return [f"substrate={{{inline}}}"]


def calibration_choice(text: str) -> str:
    """Return what ``--calibration`` means in a rig file: a path counts from where we are."""
    from eqp_hw.rig.calibrations import LATEST, NOMINAL

    return text if text in (LATEST, NOMINAL) else str(Path(text).expanduser().absolute())


def refuse_lone_options(has_rig: bool, virtual_lab: bool, truth_seed: int | None) -> None:
    """Refuse ``--virtual-lab`` without a rig and ``--truth-seed`` without a virtual lab."""
    if virtual_lab and not has_rig:
        raise ConfigurationError(
            "there is no rig to simulate", field="--virtual-lab", allowed="together with --rig"
        )
    if truth_seed is not None and not virtual_lab:
        raise ConfigurationError(
            "only a simulated twin has hidden truths to draw",
            field="--truth-seed",
            value=truth_seed,
            allowed="together with --virtual-lab",
        )


@contextmanager
def opened_rig(path: Path, virtual_lab: bool, truth_seed: int | None) -> Iterator[Rig]:
    """Read a rig file; with ``virtual_lab`` its twin lives as long as the block."""
    from eqp_hw.rig.load import load_rig
    from eqp_hw.rig.virtual_lab import make_virtual_lab

    refuse_lone_options(True, virtual_lab, truth_seed)
    rig = load_rig(path)
    with ExitStack() as stack:
        try:
            if virtual_lab:
                lab = stack.enter_context(make_virtual_lab(rig, truth_seed=truth_seed or 0))
                rig = rig.with_addresses(lab.addresses)
            yield rig
        except ConfigurationError as error:
            # What is wrong there is in the file, although it shows only with the drivers.
            raise error.with_source(error.source or path) from None


def rig_tool(name: str) -> Callable[..., Iterable[SelfTestStep]]:
    """Return what the drivers offer under ``name``.

    Raises
    ------
    UnavailableError
        No drivers are installed.
    """
    entries = entry_points(group=ENTRY_POINT_GROUP)
    if name not in entries.names:
        raise UnavailableError(
            f"no drivers are installed (entry point {name!r} of the group "
            f"{ENTRY_POINT_GROUP!r}): reinstall eqp_hw"
        )
    tool: Callable[..., Iterable[SelfTestStep]] = entries[name].load()
    return tool


@contextmanager
def terminable() -> Iterator[None]:
    """While open, SIGTERM ends the command as Ctrl-C does: through all clean-up."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    old = None
    with suppress(ValueError):  # not the main thread
        old = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        if old is not None:
            signal.signal(signal.SIGTERM, old)
