"""The run file against a model of it, in any order of calls (hypothesis)."""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from records_samples import (
    assert_parameters,
    assert_rows,
    create_run,
    epoch_row,
    parameters,
    step_row,
)

from eqp_hw.records.reader import read_run
from eqp_hw.records.run_file import RunWriter


class RunFileMachine(RuleBasedStateMachine):
    @initialize(directed=st.booleans())
    def create(self, directed: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="run-file-"))
        self.path = self.folder / "run.h5"
        self.writer = create_run(self.path)
        self.directed = directed
        self.steps: list[int] = []
        self.epochs: list[tuple[int, int]] = []
        self.snapshots: dict[str, list[tuple[int, int]]] = {
            "parameters": [],
            "responses": [],
            "phases": [],
        }
        self.resumes = 0
        self.finished = False

    @property
    def step(self) -> int:
        return self.steps[-1] if self.steps else 0

    @precondition(lambda self: not self.finished)
    @rule(count=st.sampled_from([1, 2, 600]), gap=st.integers(1, 3))
    def add_steps(self, count: int, gap: int) -> None:
        for _ in range(count):
            number = self.step + gap
            self.writer.record_step(step_row(number))
            self.steps.append(number)

    @precondition(lambda self: not self.finished)
    @rule(count=st.sampled_from([1, 130]))
    def add_epochs(self, count: int) -> None:
        for _ in range(count):
            number = self.epochs[-1][0] + 1 if self.epochs else 1
            self.writer.record_epoch(epoch_row(number, self.step))
            self.epochs.append((number, self.step))

    @precondition(lambda self: not self.finished)
    @rule(kind=st.sampled_from(["parameters", "responses", "phases"]), count=st.integers(1, 5))
    def add_snapshots(self, kind: str, count: int) -> None:
        for _ in range(count):
            entries = self.snapshots[kind]
            epoch = entries[-1][0] + 1 if entries else 0
            entries.append((epoch, self.step))
            if kind == "parameters":
                master = parameters(epoch, directed=self.directed)
                effective = parameters(epoch + 1, directed=self.directed)
                self.writer.record_parameters(epoch, self.step, master, effective)
            elif kind == "responses":
                self.writer.record_response(epoch, self.step, np.full((5, 2), float(epoch)))
            else:
                values = np.full((3, 5), epoch + 0.5), np.full((3, 2), epoch - 0.5)
                self.writer.record_phases(epoch, self.step, *values, np.full(3, epoch))

    @rule(back=st.integers(0, 700), epochs_back=st.none() | st.integers(0, 3))
    def truncate(self, back: int, epochs_back: int | None) -> None:
        step = self.step - back
        last = self.epochs[-1][0] if self.epochs else 0
        epoch = None if epochs_back is None else last - epochs_back
        self.writer.truncate(step, epoch=epoch)
        self.finished = False
        self.steps = [s for s in self.steps if s <= step]
        for entries in (self.epochs, *self.snapshots.values()):
            entries[:] = [e for e in entries if e[1] <= step and (epoch is None or e[0] <= epoch)]

    @rule(provenance=st.booleans())
    def reopen(self, provenance: bool) -> None:
        self.writer.close()
        if provenance:
            origin = {"number": self.resumes}
            self.writer = RunWriter.reopen(self.path, provenance=origin)
            self.resumes += 1
        else:
            self.writer = RunWriter.reopen(self.path)

    @precondition(lambda self: not self.finished)
    @rule()
    def finish(self) -> None:
        self.writer.finish({"steps": self.step}, confusion=np.eye(2))
        self.finished = True

    @rule()
    def sync(self) -> None:
        self.writer.sync()

    @invariant()
    def file_is_as_the_model(self) -> None:
        run = read_run(self.path)
        assert self.writer.last_step == (self.steps[-1] if self.steps else None)
        assert run.finished == self.finished == self.writer.finished
        assert run.result is None or run.result.summary == {"steps": self.step}
        assert run.resumes == tuple({"number": n} for n in range(self.resumes))
        assert_rows(run.steps, [step_row(s) for s in self.steps])
        assert_rows(run.epochs, [epoch_row(*e) for e in self.epochs])
        for kind, stored in (
            ("parameters", run.snapshots),
            ("responses", run.responses),
            ("phases", run.phases),
        ):
            assert [(entry.epoch, entry.step) for entry in stored] == self.snapshots[kind]
        for entry in run.snapshots:
            assert_parameters(entry.master, parameters(entry.epoch, directed=self.directed))
            assert_parameters(entry.effective, parameters(entry.epoch + 1, directed=self.directed))
        assert all((response.chi == response.epoch).all() for response in run.responses)
        for entry in run.phases:
            assert (entry.phases == entry.epoch + 0.5).all()
            assert (entry.targets == entry.epoch - 0.5).all()
            assert (entry.labels == entry.epoch).all()

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()
            assert [p.name for p in self.folder.iterdir()] == ["run.h5"]
            shutil.rmtree(self.folder)


TestRunFileMachine = RunFileMachine.TestCase
TestRunFileMachine.settings = settings(
    deadline=None,
    max_examples=20,
    stateful_step_count=12,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)
