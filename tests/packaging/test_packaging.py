"""What the wheel installs, what an import costs, and what happens without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _build_wheel(folder: Path, environment: dict[str, str]) -> zipfile.ZipFile:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(
        build,
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.fixture(scope="module")
def wheel_without_compiler(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A compiler that always fails stands for no compiler."""
    missing = {"CXX": "/nonexistent/c++", "CC": "/nonexistent/cc"}
    return _build_wheel(tmp_path_factory.mktemp("pure"), missing)


def test_the_wheel_installs_nothing_but_eqp_hw(wheel_without_compiler: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel_without_compiler.namelist()}
    assert tops == {"eqp_hw", "eqp_hw-0.1.0.dist-info"}


def test_the_rooms_are_mapped_and_typed(wheel_without_compiler: zipfile.ZipFile) -> None:
    names = set(wheel_without_compiler.namelist())
    for room in ("sim_backends", "drivers", "calibration", "learning", "conformance"):
        assert f"eqp_hw/{room}/__init__.py" in names
    assert "eqp_hw/py.typed" in names
    sources = {
        f"eqp_hw/{path.relative_to(ROOT)}"
        if path.parts[len(ROOT.parts)] != "eqp_hw"
        else str(path.relative_to(ROOT))
        for room in ("eqp_hw", "sim_backends", "drivers", "calibration")
        for path in (ROOT / room).rglob("*.py")
    }
    assert sources <= names


def test_without_a_compiler_the_wheel_is_pure(wheel_without_compiler: zipfile.ZipFile) -> None:
    compiled = [n for n in wheel_without_compiler.namelist() if n.endswith((".so", ".pyd"))]
    assert compiled == []


def test_the_pure_wheel_relaxes_and_says_once_what_is_lost(
    wheel_without_compiler: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel_without_compiler.extractall(tmp_path)
    program = (
        # An editable install of the checkout would win over the wheel.
        "import logging, sys; logging.basicConfig(format='%(message)s')\n"
        "sys.meta_path[:] = [f for f in sys.meta_path"
        " if not type(f).__module__.startswith('_editable')]\n"
        "from eqp_hw.network.graph import Network\n"
        "from eqp_hw.sim_backends.emulator import XYEmulator\n"
        "net = Network.create(3, [(0, 1), (1, 2)], inputs=[0], outputs=[2])\n"
        "a, b = XYEmulator(net), XYEmulator(net)\n"
        "print(a.engine_name, all(s.passed for s in a.self_test() if s.name != 'compiled kernels'))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.split() == ["ReferenceEngine", "True"], done.stderr
    assert done.stderr.count("compiler") == 1


def test_import_is_quick_and_loads_no_heavy_library() -> None:
    program = (
        "import sys, eqp_hw\n"
        "heavy = {'matplotlib', 'sklearn', 'networkx', 'h5py', 'pandas', 'jinja2', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], check=False, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
