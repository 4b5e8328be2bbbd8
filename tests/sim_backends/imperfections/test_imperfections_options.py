"""What files may say, what contradicts itself, and how that is told."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imperfection_bench import INPUTS, LAYERED, imperfect, random_parameters, table
from typer.testing import CliRunner

from eqp_hw.cli.app import app
from eqp_hw.errors import ConfigurationError, EqpError
from eqp_hw.experiment.assemble import Experiment
from eqp_hw.sim_backends.imperfections.registry import KINDS, list_imperfections

BITS = table("phase-bits", bits=8)
REFUSED = [
    ("noise", "substrate.imperfections = 'noise'", "not a list of tables"),
    ([3], "substrate.imperfections[0] = 3", "not a table"),
    ([{}], "substrate.imperfections[0].kind", "is missing (allowed: readout-noise"),
    ([table("readout-nose")], "[0].kind = 'readout-nose'", "did you mean 'readout-noise'"),
    ([table(["dead"])], "[0].kind = ['dead']", "no such imperfection"),
    ([BITS, table("readout-noise", sigma=-1)], "[1].sigma = -1", ">= 0"),
    ([table("readout-noise", sigma=math.nan)], "[0].sigma", "a finite number"),
    ([table("readout-noise", sigma="much")], "[0].sigma = 'much'", "a number"),
    ([table("readout-noise", sgima=1.0)], "[0].sgima", "did you mean 'sigma'"),
    ([table("readout-noise", seed=-1)], "[0].seed = -1", ">= 0"),
    ([table("phase-bits")], "[0].bits", "is missing"),
    ([table("phase-bits", bits=0)], "[0].bits = 0", ">= 1"),
    ([table("phase-bits", bits=40)], "[0].bits = 40", "<= 32"),
    ([table("phase-bits", bits=2.5)], "[0].bits = 2.5", "a whole number"),
    ([table("phase-bits", bits=8, where="output")], "[0].where = 'output'", "readout, inputs"),
    (
        [table("phase-bits", bits=8, where="inputs", dither="uniform")],
        "[0].dither = 'uniform'",
        'where = "readout"',
    ),
    ([BITS, table("clock"), BITS], "[2].kind = 'phase-bits'", "beside substrate.imperfections[0]"),
    ([table("coupling-bits")] * 2, "[1].kind = 'coupling-bits'", "second converter of couplings"),
    ([table("bias-bits")] * 2, "[1].kind = 'bias-bits'", "second converter of bias fields"),
    ([table("bias-bits", bits=1)], "[0].bits = 1", ">= 2"),
    ([table("clock")] * 2, "[1].kind = 'clock'", "a second clock"),
    ([table("clock", settle_s=-1.0)], "[0].settle_s = -1.0", ">= 0"),
    ([table("incomplete-settling")] * 2, "[1].kind", "a second incomplete settling"),
    ([table("incomplete-settling", remaining=1.0)], "[0].remaining = 1.0", "< 1"),
    ([table("coupling-bits", low=1.0, high=1.0)], "[0].high = 1.0", "> low = 1"),
    ([table("coupling-bits", low=2.0, high=-2.0)], "[0].high = -2.0", "range of couplings is"),
    ([table("coupling-crosstalk", range=0.0)], "[0].range = 0.0", "> 0"),
    ([table("drift", target="phase")], "[0].target = 'phase'", "readout, coupling, bias"),
    ([table("drift", shape="one-over-g")], "[0].shape", "did you mean 'one-over-f'"),
    ([table("drift", shortest_s=2.0)], "[0].shortest_s = 2.0", 'shape = "one-over-f"'),
    (
        [table("drift", shape="one-over-f", shortest_s=5.0, longest_s=5.0)],
        "[0].shortest_s = 5.0",
        "< longest_s = 5",
    ),
]


@pytest.mark.parametrize(("tables", "place", "words"), REFUSED)
def test_what_is_wrong_is_named_with_what_is_allowed(tables, place, words):
    from eqp_hw.registry import make_substrate

    with pytest.raises(ConfigurationError) as error:
        make_substrate("emulator", LAYERED, {"imperfections": tables})
    assert place in str(error.value)
    assert words in str(error.value)
    assert str(error.value).startswith("substrate.imperfections")


def test_two_converters_at_different_places_do_not_contradict_each_other():
    places = [table("phase-bits", bits=8, where=w) for w in ("readout", "inputs", "nudge")]
    with imperfect(*places, table("coupling-bits"), table("bias-bits")) as substrate:
        assert substrate.capabilities.readout_bits == 8


def test_no_imperfections_are_no_wrapper():
    with imperfect() as substrate:
        assert type(substrate).__name__ == "XYEmulator"


def test_a_file_with_a_mistake_is_named_and_leaves_no_traceback(tmp_path):
    text = (
        '[task]\nkind = "xor"\n[encoding]\ninput = "bits"\ntarget = "binary"\n'
        '[network]\nkind = "all-to-all"\nn_nodes = 5\n'
        '[[substrate.imperfections]]\nkind = "dead"\n'
        '[[substrate.imperfections]]\nkind = "readout-noise"\nsigma = -0.5\n'
    )
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, ["run", str(file)])
    message = " ".join(done.stderr.split())
    assert done.exit_code == 2
    assert "bad.toml" in message
    assert "substrate.imperfections[1].sigma = -0.5" in message
    assert "Traceback" not in done.output
    with pytest.raises(ConfigurationError, match="did you mean 'nonreciprocity'"):
        Experiment.from_dict(
            {
                "task": {"kind": "xor"},
                "encoding": {"input": "bits", "target": "binary"},
                "network": {"kind": "all-to-all", "n_nodes": 5},
                "substrate": {"imperfections": [{"kind": "nonreciprocal"}]},
            }
        ).build()


def test_kinds_are_listed_with_every_option():
    done = CliRunner().invoke(app, ["list", "imperfections", "--json"])
    listed = {one["name"]: one for one in json.loads(done.stdout)["imperfections"]}
    assert list(listed) == list(KINDS)
    for name, options in KINDS.items():
        assert set(listed[name]["options"]) == set(options.model_fields) - {"kind"}
        assert all(line for line in listed[name]["options"].values())
    assert "required" in listed["phase-bits"]["options"]["bits"]
    assert "default 0.0" in listed["readout-noise"]["options"]["sigma"]
    assert [one.name for one in list_imperfections()] == list(KINDS)


def test_the_guide_tells_every_kind_and_option():
    guide = (Path(__file__).parents[3] / "docs" / "imperfections.md").read_text(encoding="utf-8")
    sections = {part.split("`", 1)[0]: part for part in guide.split("\n### `")[1:]}
    assert set(sections) == set(KINDS)
    for name, options in KINDS.items():
        for field in set(options.model_fields) - {"kind", "seed"}:
            assert f"| `{field}` |" in sections[name], (name, field)


def test_kinds_left_at_their_defaults_change_no_phase():
    nothing = [table(kind) for kind in KINDS if kind not in ("phase-bits", "coupling-bits",
                                                            "bias-bits")]  # fmt: skip
    seen = []
    for tables in ([], nothing):
        with imperfect(*tables) as substrate:
            substrate.write_parameters(random_parameters())
            substrate.set_inputs(INPUTS)
            substrate.reset(7)
            substrate.settle()
            seen.append(substrate.read_phases().phases)
    assert abs(seen[0] - seen[1]).max() < 1e-12


numbers = st.one_of(
    st.floats(-2, 2), st.integers(-2, 12), st.sampled_from([math.nan, math.inf, "x", None, [], [1]])
)
choices = st.sampled_from(
    ["readout", "inputs", "nudge", "coupling", "bias", "linear", "random-walk", "one-over-f",
     "none", "uniform", "auto", "channels", "positions", 3, None]
)  # fmt: skip
parts = st.lists(st.integers(-1, 21), max_size=4)


@st.composite
def any_table(draw):
    kind = draw(st.sampled_from([*KINDS, "nothing"]))
    names = sorted(KINDS[kind].model_fields) if kind in KINDS else ["sigma"]
    chosen = draw(st.lists(st.sampled_from([*names, "unknown"]), max_size=4, unique=True))
    value = {
        "bonds": parts,
        "nodes": parts,
        "where": choices,
        "dither": choices,
        "target": choices,
        "shape": choices,
        "distance": choices,
        "common": st.booleans(),
        "seed": st.integers(-1, 5),
    }
    options = {name: draw(value.get(name, numbers)) for name in chosen if name != "kind"}
    return {"kind": kind, **options}


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.lists(any_table(), max_size=5))
def test_any_tables_are_built_and_run_or_are_refused(tables):
    refusal = None
    try:
        substrate = imperfect(*tables)
    except ConfigurationError as error:
        refusal = error
    if refusal is not None:
        assert str(refusal).startswith("substrate.imperfections")
        return
    with substrate:
        try:
            substrate.write_parameters(random_parameters())
        except EqpError as error:  # beyond a range, or a coupling of exactly 0 on the only way
            assert error  # noqa: PT017
            return
        substrate.set_inputs(INPUTS)
        substrate.reset(7)
        substrate.settle()
        assert substrate.read_phases(2).phases.shape == (3, 9)
