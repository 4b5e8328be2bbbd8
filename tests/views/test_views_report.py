from __future__ import annotations

import base64
import builtins
import csv
import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from eqp_hw.errors import ConfigurationError, RecordError, UnavailableError
from eqp_hw.network.builders import layered
from eqp_hw.records.reader import RunData
from eqp_hw.views import page as page_module
from eqp_hw.views.export import save_figures, save_tables
from eqp_hw.views.figures import run_figures
from eqp_hw.views.findings import findings
from eqp_hw.views.moments import moment_title, pick_moments
from eqp_hw.views.report import render_report, write_report
from eqp_hw.views.summary import image_shape, render_summary, run_name, sparkline, summary

MakeRun = Callable[..., RunData]
VOID = {"meta", "img", "link", "br", "hr", "input"}
HOSTILE = "<script>alert('$x^')</script> & \"[bold]quoted[/bold]\""


class _Page(HTMLParser):
    """Collects tags, texts and addresses; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        names = [name for name, _ in attrs]
        assert not [name for name in names if name.startswith("on")]
        self.addresses += [v or "" for k, v in attrs if k in {"src", "href", "srcset", "data"}]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_report_is_one_self_contained_page(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    path = write_report(run, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.tags.count("img") == 5
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    for address in page.addresses:
        media, _, data = address.partition(";base64,")
        content = base64.b64decode(data, validate=True)
        if media.endswith("svg+xml"):
            ET.fromstring(content)
        else:
            assert content.startswith(b"\x89PNG")
    shown = " ".join(page.texts)
    for piece in ("a run", "0.750", 'kind = "xor"', "2026-01-01", "hops", "run.h5"):
        assert piece in shown
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_report_takes_the_name_of_a_run_file(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(epochs=0, finished=False, snapshots=False)
    first = write_report(run.path, tmp_path / "a.html").read_bytes()
    assert first == write_report(run, tmp_path / "b.html").read_bytes()


def test_hostile_names_stay_text(make_run: MakeRun) -> None:
    run = make_run(
        name=HOSTILE,
        experiment=f"# {HOSTILE}",
        class_names=(HOSTILE, "$\\frac{"),
        result={"note": HOSTILE},
        provenance={"host": HOSTILE, "command": [HOSTILE]},
        file="a b'&.h5",
    )
    text = render_report(run)
    page = _Page(text)
    assert "script" not in page.tags
    assert "".join(page.texts).count("<script>alert(") >= 5
    assert "[bold]quoted[/bold]" in _printed(run)


@pytest.mark.parametrize(
    "case",
    [
        {"epochs": 0, "snapshots": False, "finished": False},
        {"epochs": 0, "snapshots": True, "finished": False},
        {"epochs": 0, "extra_steps": 3, "snapshots": False, "finished": False},
        {"epochs": 2, "extra_steps": 1, "finished": False},
        {"epochs": 1, "validation": False, "snapshots": False},
    ],
)
def test_unfinished_and_empty_runs(make_run: MakeRun, case: dict[str, Any]) -> None:
    run = make_run(**case)
    page = _Page(render_report(run))
    shown = " ".join(page.texts)
    assert ("eqp-hw resume" in shown) is not run.finished
    drawn = len(list(run_figures(run)))
    assert page.tags.count("img") == drawn
    assert ("Nothing is recorded yet" in shown) is (drawn == 0)
    facts = summary(run)
    json.dumps(facts, allow_nan=False)
    assert facts["finished"] is run.finished
    assert facts["epochs"] == case["epochs"]
    assert facts["test_accuracy"] == (0.75 if run.finished else None)
    text = _printed(run)
    assert ("Unfinished run" in text) is not run.finished
    assert "nan" not in text


def _printed(run: RunData) -> str:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(width=200, record=True, file=nowhere)
        console.print(render_summary(run))
    return console.export_text()


def test_summary_states_what_the_columns_add_up_to(make_run: MakeRun) -> None:
    facts = summary(make_run(epochs=4, steps_per_epoch=2, extra_steps=1, finished=False))
    assert (facts["epochs"], facts["steps"]) == (4, 9)
    assert facts["counts"]["hops"] == 5
    assert facts["seconds"] == pytest.approx(4 * 1.0 + 0.4)
    assert facts["seconds_by_phase"]["free"] == pytest.approx(9 * 0.2)
    assert sum(facts["seconds_by_phase"].values()) == pytest.approx(facts["seconds"])
    assert (facts["best_validation_accuracy"], facts["best_validation_epoch"]) == (0.9, 4)
    assert facts["train_distance"] == pytest.approx(0.125)
    assert facts["residual_max"] == 1e-12


def test_terminal_page(make_run: MakeRun) -> None:
    text = _printed(make_run())
    for piece in ("0.7500", "a run", "all-to-all", "6 hops", "free", "finished", "█"):
        assert piece in text


def test_long_tables_are_shortened_and_the_kept_epoch_marked(make_run: MakeRun) -> None:
    text = render_report(make_run(epochs=30, steps_per_epoch=1, snapshots=False))
    assert "15 epochs in between" in text
    assert text.count('class="kept"') == 1


def test_report_never_replaces_another_file(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(epochs=0, finished=False, snapshots=False)
    before = run.path.read_bytes()
    with pytest.raises(RecordError, match="not a report"):
        write_report(run, run.path)
    assert run.path.read_bytes() == before
    with pytest.raises(RecordError, match="folder"):
        write_report(run, tmp_path)
    with pytest.raises(RecordError, match="cannot be written"):
        write_report(run, tmp_path / "missing" / "r.html")
    page = write_report(run, tmp_path / "r.html")
    page.write_bytes(page.read_bytes().replace(b"a run", b"an old run"))
    assert b"an old run" not in write_report(run, page).read_bytes()


def test_a_failed_write_leaves_the_old_page(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(epochs=0, finished=False, snapshots=False)
    page = write_report(run, tmp_path / "r.html")
    before = page.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_module.os, "fsync", full)
    with pytest.raises(RecordError, match="No space left"):
        write_report(run, page)
    assert page.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.html", "run.h5"]


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_missing_extras_are_named(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    run = make_run(epochs=1, snapshots=False)
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UnavailableError, match=re.escape("pip install 'eqp_hw[plots]'")):
        write_report(run, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_findings(make_run: MakeRun) -> None:
    def texts(run: RunData) -> str:
        return " ".join(finding.text for finding in findings(run))

    assert findings(make_run(step={"hops": 0}, file="good.h5")) == []
    bad = make_run(
        step={"hops": 2, "excluded": 1, "unsettled": 3, "residual_max": 1e-3,
              "displacement_max": 2.0, "cost": math.nan},
        provenance={"git": {"revision": "abc", "modified": True}},
        file="bad.h5",
    )  # fmt: skip
    said = texts(bad)
    for piece in ("Many hops: 24", "gradients: 12.", "36 measurements", "1.0e-03", "2 rad",
                  "diverged", "uncommitted"):  # fmt: skip
        assert piece in said
    levels = [finding.level for finding in findings(bad)]
    assert levels == sorted(levels, reverse=True)  # warnings first
    resume = texts(make_run(finished=False, file="it's.h5"))
    assert "eqp-hw resume" in resume
    assert "'\"'\"'" in resume  # quoted for the shell


def test_names_and_shapes_come_from_the_experiment(make_run: MakeRun) -> None:
    run = make_run(name=" ", epochs=0, snapshots=False)
    assert run_name(run) == "run"
    run.resolved["derived"]["title"] = "xor on a lattice"
    assert run_name(run) == "xor on a lattice"
    for given, seen in (
        ([8, 9], (8, 9)),
        (None, None),
        ([8], None),
        ([8, "9"], None),
        ([0, 4], None),
    ):
        run.resolved["derived"]["image_shape"] = given
        assert image_shape(run) == seen


def test_moments() -> None:
    class Entry:
        def __init__(self, epoch: int) -> None:
            self.epoch = epoch

    entries = [Entry(k) for k in (0, 1, 2, 40, 55, 100)]
    assert [e.epoch for e in pick_moments(entries)] == [0, 55, 100]
    assert [e.epoch for e in pick_moments(entries[:2])] == [0, 1]
    assert pick_moments(entries[:0]) == []
    titles = [moment_title(k, 3, e) for k, e in enumerate((0, 5, 9))]
    assert titles == ["Start (before training)", "Middle (epoch 5)", "End (epoch 9)"]


def test_sparkline() -> None:
    assert sparkline(np.arange(8.0)) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.array([0, np.nan, 1])) == "▁ █"
    assert sparkline(np.full(3, np.nan)) == ""
    assert len(sparkline(np.arange(1000.0), 20)) == 20
    assert sparkline(np.array([1.0, 10, 100]), log=True)[1] in "▄▅"
    assert sparkline(np.ones(3)) == "▅▅▅"


def test_export(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(layered([4, 6, 3]), class_names=("a", "b", "c"), epochs=2)
    names = {"learning_curves", "confusion_matrix", "couplings", "responses", "phases"}
    files = save_figures(run, tmp_path / "figures" / "new", "svg")
    assert {file.stem for file in files} == names
    assert all(file.suffix == ".svg" and file.stat().st_size > 2000 for file in files)
    steps, epochs = save_tables(run, tmp_path / "tables")
    with steps.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_array_equal([float(row["cost"]) for row in rows], run.steps["cost"])
    assert epochs.read_text().splitlines()[0].startswith("epoch,step,")
    with pytest.raises(ConfigurationError, match="png, svg, pdf"):
        save_figures(run, tmp_path, "gif")
    with pytest.raises(RecordError, match="not a folder"):
        save_tables(run, steps)
