"""All steps of a calibration, in order, into one file; resumable, and safe on abort."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from eqp_hw.drivers.errors import InstrumentError
from eqp_hw.drivers.rig.bench import Bench
from eqp_hw.errors import ConfigurationError, EqpError, RecordError
from eqp_hw.experiment.toml_file import render_toml
from eqp_hw.randomness import RandomStreams
from eqp_hw.rig.calibration import nominal_calibration
from eqp_hw.rig.calibrations import (
    CalibrateOptions,
    CalibrationOutcome,
    FindingLine,
    StepResult,
    Watcher,
)
from eqp_hw.rig.load import Rig

from .errors import CalibrationError
from .figures import compose, further_figures
from .identity import differing_instruments, differing_wiring, wiring_of
from .latest import find_calibrations, find_latest, is_of_rig
from .layout import StoredStep
from .reader import CalibrationFile, Heading, moment, read_calibration, read_heading
from .refusals import (
    refuse_groundless,
    refuse_no_room,
    refuse_options,
    refuse_parted,
    steps_of,
)
from .rig_session import RigSession
from .session import Ledger
from .step import Step, StepData, StepFit
from .steps import STEPS
from .store import CalibrationWriter, default_path, folder_of

__all__ = ["calibrate", "chosen_steps"]

_log = logging.getLogger("eqp_hw.calibration")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def calibrate(
    rig: Rig,
    options: CalibrateOptions | None = None,
    watcher: Watcher | None = None,
    *,
    steps: Sequence[Step] | None = None,
) -> CalibrationOutcome:
    """Calibrate a rig into a new file (or go on with an incomplete one).

    A step that gives no figures is left out together with those that build on it, and the
    others are still taken; an instrument that fails for good ends it all. Outputs are at zero
    afterwards, whatever happens.

    Parameters
    ----------
    rig
        Rig file; its nominal figures are where every calibration starts, a measured one that it
        names is not.
    options
        See `CalibrateOptions`.
    watcher
        Told how it goes.
    steps
        The steps there are, each after those that it needs; `STEPS` by default.

    Raises
    ------
    ConfigurationError
        A step that there is not, or one whose grounds are missing; nothing to resume; a limit
        that leaves no room; no temperature. No file is made then.
    InstrumentError
        An instrument is not there, or fails for good.
    EqpError
        The file cannot be written. What was complete before stands in it.

    Examples
    --------
    >>> from eqp_hw.calibration.procedure import calibrate             # doctest: +SKIP
    >>> outcome = calibrate(load_rig("my_rig.toml"))                   # doctest: +SKIP
    >>> outcome.complete, outcome.path                                 # doctest: +SKIP
    """
    options = CalibrateOptions() if options is None else options
    steps = STEPS if steps is None else steps
    wanted, skipped = chosen_steps(rig, options.only, steps)
    refuse_options(options)
    bench = Bench(rig)
    with ExitStack() as stack:
        stack.callback(bench.close)
        bench.connect()
        identities = bench.lasting_identities
        begun = _to_resume(rig, identities, options.output) if options.resume else None
        base = find_latest(rig, identities) if options.only else None
        refuse_groundless(rig, options, wanted, {*skipped, *steps_of(begun), *steps_of(base)})
        refuse_parted(options, wanted, steps, steps_of(begun), steps_of(base))
        # All that may be refused is, before there is a file of it.
        session = stack.enter_context(
            RigSession(
                bench,
                progress=(watcher or Watcher()).on_progress,
                guarded=options.guarded,
            )
        )
        refuse_no_room(session)
        writer = stack.enter_context(_writer(rig, identities, options, begun))
        course = _Course(rig, session, writer, options, watcher or Watcher(), steps)
        course.take_over_from(base)
        outcome = course.run(wanted, skipped)
        latest = find_latest(rig, identities)
        return replace(outcome, latest=None if latest is None else latest.path)


def chosen_steps(
    rig: Rig, only: Sequence[str], steps: Sequence[Step]
) -> tuple[list[Step], dict[str, str]]:
    """Return the steps to take, and why others cannot be taken on this rig.

    Raises
    ------
    ConfigurationError
        No such step, or one asked for that this rig cannot take.
    """
    seen: set[str] = set()
    for step in steps:
        if not _NAME.fullmatch(step.name) or step.name in seen or not set(step.needs) <= seen:
            raise CalibrationError(
                f"step {step.name!r}: its name is no word of its own, or it stands before a "
                f"step that it needs ({', '.join(step.needs)})"
            )
        seen.add(step.name)
    skipped = {
        step.name: reason for step in steps if (reason := step.unavailable_because(rig)) is not None
    }
    for name in only:
        if name not in seen:
            raise ConfigurationError(
                "there is no such step",
                field="--only",
                value=name,
                allowed=", ".join(step.name for step in steps),
            )
        if name in skipped:
            raise ConfigurationError(
                f"this rig cannot take the step: {skipped[name]}", field="--only", value=name
            )
    wanted = [s for s in steps if s.name not in skipped and (not only or s.name in only)]
    if not wanted:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ConfigurationError(
            f"there is no step that this rig can take ({reasons or 'none is installed'})",
            source=rig.path or None,
        )
    return wanted, skipped


def _writer(
    rig: Rig, identities: Mapping[str, str], options: CalibrateOptions, begun: Heading | None
) -> CalibrationWriter:
    if begun is None:
        path = default_path(rig) if options.output is None else options.output
        return CalibrationWriter.create(
            path,
            rig,
            identities,
            seed=options.seed,
            temperature_C=options.temperature_C,
            rig_text=_text_of(rig),
        )
    return CalibrationWriter.reopen(begun.path)


def _to_resume(rig: Rig, identities: Mapping[str, str], output: Path | None) -> Heading:
    heading = _begun(rig, identities, output)
    other = differing_instruments(heading.identities, identities)
    wired = differing_wiring(heading.wiring, wiring_of(rig))
    if other or wired:
        raise ConfigurationError(
            f"was begun on another rig or wiring ({other or wired})",
            source=heading.path,
            field="--resume",
            allowed="the rig as it was, or a new calibration",
        )
    return heading


def _begun(rig: Rig, identities: Mapping[str, str], output: Path | None) -> Heading:
    if output is not None:
        return read_heading(output)
    for heading in find_calibrations(rig):
        if is_of_rig(heading, rig, identities) and not heading.complete:
            return heading
        if is_of_rig(heading, rig, identities):
            break  # newer than any that could be continued
    raise ConfigurationError(
        f"there is no calibration of this rig to go on with in {folder_of(rig)}",
        field="--resume",
        allowed="left out, for a new one; or --output FILE, the one to go on with",
    )


def _text_of(rig: Rig) -> str:
    """Return the rig file as it was written; one made in Python as it would be."""
    if rig.path:
        try:
            return Path(rig.path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            _log.warning("%s cannot be read again: its content is written down instead", rig.path)
    return render_toml(rig.settings.model_dump(mode="python", exclude_none=True))


@final
class _Course:
    """One calibration under way."""

    def __init__(
        self,
        rig: Rig,
        session: RigSession,
        writer: CalibrationWriter,
        options: CalibrateOptions,
        watcher: Watcher,
        steps: Sequence[Step],
    ) -> None:
        self._rig = rig
        self._session = session
        self._writer = writer
        self._watcher = watcher
        self._all = {step.name: step for step in steps}
        found = read_calibration(writer.path)
        self._streams = RandomStreams(found.heading.seed)
        self._done: dict[str, StoredStep] = dict(found.steps)
        self._attempts = len(found.attempts)
        self._resumed = set(self._done) if options.resume else set()
        self._nominal = nominal_calibration(rig)
        self._base: CalibrationFile | None = None
        self._results: list[StepResult] = []

    def take_over_from(self, base: Heading | None) -> None:
        """Take the steps that are not measured now from the newest complete calibration."""
        self._base = None if base is None else read_calibration(base.path)

    def run(self, wanted: Sequence[Step], skipped: Mapping[str, str]) -> CalibrationOutcome:
        names = [step.name for step in wanted]
        self._watcher.on_begin(self._writer.path, names)
        base = self._base
        for name, step in self._all.items():
            if name in skipped or name in self._done:
                if name in self._resumed:
                    self._tell(replace(_result_of(self._done[name]), before=True))
                continue
            if name not in names:
                if base is not None and name in base.steps:
                    self._take_over(base, name)
                continue
            missing = [need for need in step.needs if self._lacks(need, skipped)]
            if missing:
                reason = f"needs {', '.join(missing)}, which gave no figures"
                self._tell(StepResult(name, False, reason))
                continue
            self._take(step)
        return self._finish(skipped)

    def _lacks(self, need: str, skipped: Mapping[str, str]) -> bool:
        # A step that a rig cannot take leaves the nominal figures; one that failed does not.
        return need not in self._done and need not in skipped

    def _take_over(self, base: CalibrationFile, name: str) -> None:
        stored = base.steps[name]
        origin = stored.taken_from or str(base.heading.path)
        self._done[name] = replace(stored, taken_from=origin)
        self._writer.add_step(self._done[name])
        self._tell(replace(_result_of(self._done[name]), before=True))

    def _take(self, step: Step) -> None:
        self._watcher.on_step(step.name, step.description)
        started, clock = datetime.now(UTC), time.monotonic()
        before = self._session.ledger()
        before_cut = self._rows_before(step.name)
        journal = self._writer.journal(step.name, before_cut)
        rng = self._streams.generator(f"step: {step.name}", self._attempts)
        self._session.begin_step(
            rng, journal.append, before=before_cut, checkpoint=journal.checkpoint
        )
        self._session.known, _ = compose(self._nominal, self._in_time(), "steps so far")
        self._session.found = further_figures(self._fits())
        try:
            data = step.measure(self._session)
            self._rest()
        except (InstrumentError, RecordError):
            raise  # for good: rows stand in the journal, and the step can be gone on with
        except EqpError as error:
            self._rest()
            self._fail(step.name, self._session.recorded(), str(error), time.monotonic() - clock)
            return
        seconds = time.monotonic() - clock
        try:
            fit = step.fit(data, self._session.known, self._rig)
            compose(self._nominal, [*self._in_time(), fit], "")
            summary = step.summary(fit, self._rig)
        except EqpError as error:
            self._fail(step.name, data, str(error), seconds)
            return
        except (ValueError, ArithmeticError, RuntimeError) as error:
            # What numerical libraries raise where data are beyond them: the data are kept, and
            # what does not build on the step is still measured.
            _log.warning("step %s: the fit ended early", step.name, exc_info=error)
            reason = f"the fit did not converge ({type(error).__name__}: {error})"
            self._fail(step.name, data, f"{reason}; its raw data are kept", seconds)
            return
        stored = StoredStep(
            step.name,
            step.description,
            started.isoformat(timespec="seconds"),
            datetime.now(UTC).isoformat(timespec="seconds"),
            seconds,
            summary,
            data,
            fit,
            times_s=_between(before, self._session.ledger()),
        )
        self._writer.add_step(stored)
        self._done[step.name] = stored
        self._tell(_result_of(stored))

    def _rest(self) -> None:
        """Leave the rig as each step finds it: heaters at zero, oscillators running."""
        self._session.all_zero()
        if self._session.has_gain_switch:
            self._session.gain(True)

    def _fail(self, name: str, data: StepData, reason: str, seconds: float) -> None:
        self._writer.add_attempt(name, data, reason)
        self._attempts += 1
        self._tell(StepResult(name, False, reason, seconds=seconds))

    def _rows_before(self, name: str) -> StepData | None:
        """Return rows to go on from, of a measurement that was cut off after a checkpoint."""
        left = self._writer.unfinished
        if left is not None and left.step == name and left.whole.arrays:
            return left.whole
        if left is not None:
            self._writer.put_aside()
            self._attempts += 1
        return None

    def _fits(self) -> list[StepFit]:
        return [self._done[name].fit for name in self._all if name in self._done]

    def _in_time(self) -> list[StepFit]:
        """Return fits by the time of their measurement: what is newer replaces what is older.

        What was measured for this file is newer than what was taken over, whatever the clock says.
        """
        done = [self._done[name] for name in self._all if name in self._done]

        def age(one: StoredStep) -> tuple[bool, datetime]:
            return not one.taken_from, moment(one.ended)

        return [one.fit for one in sorted(done, key=age)]

    def _tell(self, result: StepResult) -> None:
        self._results.append(result)
        self._watcher.on_result(result)

    def _finish(self, skipped: Mapping[str, str]) -> CalibrationOutcome:
        self._writer.put_aside()
        missing = [n for n in self._all if n not in self._done and n not in skipped]
        figures, errors = compose(self._nominal, self._in_time(), str(self._writer.path.name))
        self._writer.finish(figures, errors, missing)
        ledger = self._session.ledger()
        return CalibrationOutcome(
            self._writer.path,
            not missing,
            tuple(self._results),
            tuple(missing),
            dict(skipped),
            _between(Ledger(0.0, 0.0, 0.0, 0.0, 0), ledger),
        )


def _between(before: Ledger, after: Ledger) -> dict[str, float]:
    return {
        "transport": after.transport_s - before.transport_s,
        "settling": after.settling_s - before.settling_s,
        "computing": after.computing_s - before.computing_s,
        "processor": after.cpu_s - before.cpu_s,
    }


def _result_of(stored: StoredStep) -> StepResult:
    lines = tuple(FindingLine(f.level, f.subject, f.text) for f in stored.fit.findings)
    origin = f" (from {Path(stored.taken_from).name})" if stored.taken_from else ""
    return StepResult(stored.name, True, stored.summary + origin, lines, stored.seconds)
