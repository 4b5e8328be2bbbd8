from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_bench import ResistorPlant, make, talk

from eqp_hw.rig.schema import VirtualLabSettings
from eqp_hw.sim_backends.virtual_lab.instruments.tsp_grammar import (
    Assignment,
    Invocation,
    Name,
    TspSyntaxError,
    parse,
)
from eqp_hw.sim_backends.virtual_lab.interface import SimulatedInstrument


@pytest.fixture
def plant() -> ResistorPlant:
    return ResistorPlant()


def source(plant: ResistorPlant, dialect: str, **options: Any) -> SimulatedInstrument:
    return make("scpi-source", plant, dialect=dialect, **options)


def error(instrument: SimulatedInstrument) -> int:
    return int(talk(instrument, "SYST:ERR?")[0].split(",")[0])


class TestKeysight:
    def test_identity_and_levels(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        assert talk(psu, "*IDN?")[0].startswith("Keysight Technologies,N6702C,MY00000001,")
        talk(psu, "VOLT 1.5,(@1,3);:CURR 0.1,(@1:4)")
        assert plant.outputs(4) == [0.0] * 4  # outputs are off
        talk(psu, "OUTP ON,(@1:3)")
        assert plant.outputs(4) == pytest.approx([1.5, 0.0, 1.5, 0.0], abs=20 / 0xFFFF)
        assert talk(psu, "OUTP? (@1:4)") == ["1,1,1,0"]
        volts = [float(v) for v in talk(psu, "MEAS:VOLT? (@1:4)")[0].split(",")]
        assert volts == pytest.approx([1.5, 0.0, 1.5, 0.0], abs=2e-3)
        assert float(talk(psu, "MEAS:CURR? (@3)")[0]) == pytest.approx(3e-3, abs=2e-4)
        assert float(talk(psu, "VOLT? (@3)")[0]) == pytest.approx(plant.voltage_V("x", 2))
        assert float(talk(psu, "VOLT? MAX,(@3)")[0]) == 20.0
        assert talk(psu, "SYST:ERR?") == ['+0,"No error"']

    def test_mistakes_move_nothing(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        talk(psu, "VOLT 1,(@1:4);:OUTP ON,(@1:4)")
        before = plant.outputs(4)
        for message, code in [
            ("VOLT 2", -109),
            ("VOLT 2,(@5)", -114),
            ("VOLT 21,(@1)", -222),
            ("VOLT NAN,(@1)", -104),
            ("VOLT 2,1", -104),
            ("OUTP PERHAPS,(@1)", -104),
        ]:
            assert talk(psu, message) == []
            assert error(psu) == code
        assert plant.outputs(4) == before

    def test_current_limit(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        talk(psu, "CURR 0.01,(@1);:OUTP ON,(@1);:VOLT 10,(@1)")
        assert plant.current_A("x", 0) == pytest.approx(0.01)
        assert talk(psu, "STAT:OPER:COND? (@1,2)") == ["2,4"]
        talk(psu, "CURR:PROT:STAT ON,(@1)")
        assert plant.voltage_V("x", 0) == 0.0
        assert talk(psu, "STAT:QUES:COND? (@1)") == ["2"]
        assert int(talk(psu, "*STB?")[0]) & 8

    def test_over_voltage_trips_until_cleared(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        talk(psu, "OUTP ON,(@2);:VOLT 5,(@2);:VOLT:PROT 4,(@2)")
        assert plant.voltage_V("x", 1) == 0.0
        assert talk(psu, "STAT:QUES:COND? (@2)") == ["1"]
        talk(psu, "VOLT 3,(@2)")
        assert plant.voltage_V("x", 1) == 0.0
        talk(psu, "OUTP:PROT:CLE (@2)")
        assert plant.voltage_V("x", 1) == pytest.approx(3.0, abs=1e-3)

    def test_watchdog(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        talk(psu, "OUTP ON,(@1);:VOLT 5,(@1);:OUTP:PROT:WDOG:DEL 2")
        plant.now += 1000.0
        talk(psu, "OUTP:PROT:WDOG ON")
        assert plant.voltage_V("x", 0) == pytest.approx(5.0, abs=1e-3)
        plant.now += 1.5
        assert talk(psu, "*OPC?") == ["1"]
        plant.now += 1.5
        assert psu.feed(b"") == []
        assert plant.voltage_V("x", 0) == pytest.approx(5.0, abs=1e-3)
        plant.now += 1.0
        assert psu.feed(b"") == []
        assert plant.voltage_V("x", 0) == 0.0
        assert talk(psu, "STAT:QUES:COND? (@1)") == ["2048"]

    def test_slew_is_a_ramp(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        talk(psu, "OUTP ON,(@1);:VOLT:SLEW 10,(@1)")
        start = plant.now
        talk(psu, "VOLT 5,(@1)")
        assert plant.now - start == pytest.approx(0.5, abs=0.02)
        times, _, volts = np.array([h for h in plant.history if h[0] > start]).T
        assert np.all(np.diff(volts) >= 0)
        slopes = np.diff(volts)[:-1] / np.diff(times)[:-1]
        assert slopes == pytest.approx(10.0, rel=0.02)

    def test_reset_and_power_cycle(self, plant: ResistorPlant) -> None:
        psu = source(plant, "keysight")
        for lose in (lambda: talk(psu, "*RST"), psu.power_cycle):
            talk(psu, "VOLT 5,(@1);:OUTP ON,(@1)")
            assert plant.voltage_V("x", 0) > 4.0
            lose()
            assert plant.outputs(4) == [0.0] * 4
            assert talk(psu, "OUTP? (@1)") == ["0"]

    def test_bits(self) -> None:
        plant = ResistorPlant()
        psu = make("scpi-source", plant, VirtualLabSettings(source_bits=8), full_scale_V=10.0)
        talk(psu, "OUTP ON,(@1);:VOLT 3.3,(@1)")
        assert plant.voltage_V("x", 0) == pytest.approx(round(3.3 / 10 * 255) / 255 * 10)


class TestRohdeSchwarz:
    def test_selection_is_shared(self, plant: ResistorPlant) -> None:
        psu = source(plant, "rohde-schwarz")
        talk(psu, "INST:NSEL 2;:VOLT 1.2;:OUTP ON")
        talk(psu, "VOLT 2.4")
        assert plant.outputs(4) == pytest.approx([0.0, 2.4, 0.0, 0.0], abs=1e-3)
        assert talk(psu, "INST:NSEL?;:INST?;:VOLT?") == ["2;OUTP2;2.39994"]
        talk(psu, "INST OUT3;:APPL 5,0.005;:OUTP ON")
        assert plant.current_A("x", 2) == pytest.approx(0.005)
        assert float(talk(psu, "MEAS:CURR?")[0]) == pytest.approx(0.005, abs=2e-4)

    def test_general_switch(self, plant: ResistorPlant) -> None:
        psu = source(plant, "rohde-schwarz")
        talk(psu, "INST:NSEL 1;:VOLT 1;:OUTP:SEL ON")
        assert plant.voltage_V("x", 0) == 0.0
        talk(psu, "OUTP:GEN ON")
        assert plant.voltage_V("x", 0) == pytest.approx(1.0, abs=1e-3)
        talk(psu, "OUTP:GEN OFF")
        assert plant.voltage_V("x", 0) == 0.0

    def test_mistakes(self, plant: ResistorPlant) -> None:
        psu = source(plant, "rohde-schwarz")
        for message, code in [("INST:NSEL 5", -222), ("INST OUT9", -224), ("VOLT 33", -222)]:
            talk(psu, message)
            assert error(psu) == code
        talk(psu, "VOLT:PROT 2;:VOLT 3;:OUTP ON")
        assert talk(psu, "VOLT:PROT:TRIP?") == ["1"]
        talk(psu, "VOLT 1;:VOLT:PROT:CLE")
        assert plant.voltage_V("x", 0) == pytest.approx(1.0, abs=1e-3)
        assert error(psu) == 0


class TestQdac2:
    def test_levels_by_suffix_and_list(self, plant: ResistorPlant) -> None:
        dac = source(plant, "qdac2")
        assert talk(dac, "*idn?")[0].startswith("QDevil,QDAC-II,")
        talk(dac, "sour3:volt:mode fix;:sour3:volt -0.1;:sour:volt 2,(@5:6)")
        wanted = [0.0, 0.0, -0.1, 0.0, 2.0, 2.0]
        assert plant.outputs(6) == pytest.approx(wanted, abs=20 / 0xFFFF)
        asked = [float(v) for v in talk(dac, "sour:volt? (@1:6)")[0].split(",")]
        assert asked == pytest.approx(plant.outputs(6), abs=1e-7)
        assert float(talk(dac, "read5?")[0]) == pytest.approx(4e-3, abs=1e-5)
        assert len(talk(dac, "read? (@1:24)")[0].split(",")) == 24

    def test_trigger_updates_together(self, plant: ResistorPlant) -> None:
        dac = source(plant, "qdac2")
        talk(dac, "sour1:volt:trig 1;:sour2:volt:trig 2")
        assert plant.outputs(2) == [0.0, 0.0]
        plant.history.clear()
        talk(dac, "*trg")
        assert len({at for at, _, _ in plant.history}) == 1
        assert plant.outputs(2) == pytest.approx([1.0, 2.0], abs=1e-3)
        talk(dac, "sour1:volt 0;*trg")
        assert plant.voltage_V("x", 0) == pytest.approx(0.0, abs=1e-3)

    def test_ranges(self, plant: ResistorPlant) -> None:
        dac = source(plant, "qdac2")
        talk(dac, "sour1:rang low;:sour1:volt 1.23456")
        assert plant.voltage_V("x", 0) == pytest.approx(1.23456, abs=4 / 0xFFFF)
        assert talk(dac, "sour1:rang?;:sour2:rang?") == ["LOW;HIGH"]
        talk(dac, "sour1:volt 3")
        assert error(dac) == -222
        talk(dac, "sour2:volt 3;:sour2:rang low")
        assert error(dac) == -221
        talk(dac, "sour25:volt 1")
        assert error(dac) == -114
        talk(dac, "sour3:volt:mode list;:sour3:volt 1")
        assert error(dac) == -221
        assert plant.voltage_V("x", 2) == 0.0

    def test_slew_and_meter_range(self, plant: ResistorPlant) -> None:
        dac = source(plant, "qdac2")
        start = plant.now
        talk(dac, "sour1:volt:slew 20;:sour1:volt 4")
        assert plant.now - start == pytest.approx(0.2, abs=0.01)
        talk(dac, "sens1:rang low")
        assert float(talk(dac, "read1?")[0]) == pytest.approx(2.2e-7)
        talk(dac, "sour1:volt:slew inf")
        start = plant.now
        talk(dac, "sour1:volt 0")
        assert plant.now - start < 0.01

    def test_reset_takes_long(self, plant: ResistorPlant) -> None:
        dac = source(plant, "qdac2")
        talk(dac, "sour1:volt 4")
        start = plant.now
        assert talk(dac, "*rst;*opc?") == ["1"]
        assert plant.now - start > 5.0
        assert plant.history[-1][0] < start + 1.0
        assert plant.outputs(24) == [0.0] * 24
        talk(dac, "bogus;")
        assert talk(dac, "syst:err:all?") == ['-113,"Undefined header"']


class TestTsp:
    def test_levels(self, plant: ResistorPlant) -> None:
        smu = source(plant, "keithley-tsp")
        assert talk(smu, "*IDN?")[0].startswith("Keithley Instruments Inc., Model 2602B, ")
        talk(smu, "smua.source.levelv=1.2 smua.source.limiti=0.01; smub.source.levelv = -3")
        assert plant.outputs(2) == [0.0, 0.0]
        talk(smu, "smua.source.output = smua.OUTPUT_ON smub.source.output=1")
        assert plant.outputs(2) == pytest.approx([1.2, -3.0], abs=1e-3)
        assert float(talk(smu, "print(smua.measure.v())")[0]) == pytest.approx(1.2, abs=2e-3)
        amperes, volts = map(float, talk(smu, "print(smub.measure.iv())")[0].split("\t"))
        assert (amperes, volts) == pytest.approx((-6e-3, -3.0), abs=2e-3)
        talk(smu, "smua.source.levelv=10")
        assert plant.current_A("x", 0) == pytest.approx(0.01)
        assert talk(smu, "print(smua.source.compliance)") == ["true"]
        assert talk(smu, "print(errorqueue.count)") == ["0.00000e+00"]

    def test_errors(self, plant: ResistorPlant) -> None:
        smu = source(plant, "keithley-tsp")
        talk(smu, "smua.source.output=1 smua.source.levelv=1")
        for line, code in [
            ("smua.source.levelv=", -285),
            ("smua.source.levelv=2 ???", -285),
            ("smua.source.levelv=41", 1102),
            ("smua.source.limiti=-1", 1103),
            ("smuc.source.levelv=2", -286),
            ("node[2].smua.source.levelv=2", -286),
            ("smua.source.levelv='2'", -286),
            ("nothing()", -286),
            ("*BOGUS", -285),
        ]:
            assert talk(smu, line) == []
            parts = talk(smu, "print(errorqueue.next())")[0].split("\t")
            assert float(parts[0]) == code
            assert len(parts) == 4
        assert talk(smu, "print(errorqueue.next())") == [
            "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00"
        ]
        assert plant.voltage_V("x", 0) == pytest.approx(1.0, abs=1e-3)

    def test_nodes_ranges_and_resets(self, plant: ResistorPlant) -> None:
        smu = source(plant, "keithley-tsp", channels=4)
        talk(smu, "node[2].smub.source.rangev=5 node[2].smub.source.levelv=2")
        talk(smu, "node[2].smub.source.output=1")
        assert plant.voltage_V("x", 3) == pytest.approx(2.0, abs=1e-3)
        assert talk(smu, "print(node[2].smub.source.rangev)") == ["6.06000e+00"]
        talk(smu, "node[2].smub.reset()")
        assert plant.voltage_V("x", 3) == 0.0
        talk(smu, "smua.source.levelv=1 smua.source.output=1 reset()")
        assert plant.outputs(4) == [0.0] * 4

    @settings(max_examples=60, deadline=None)
    @given(st.text("smua.=()[]1,;\"' print\t", max_size=40) | st.text(max_size=20))
    def test_any_line_parses_or_is_a_syntax_error(self, line: str) -> None:
        try:
            statements = parse(line)
        except TspSyntaxError as error:
            said = str(error)
        else:
            said = "ok"
            assert all(isinstance(s, Assignment | Invocation) for s in statements)
        assert said

    def test_grammar(self) -> None:
        assert parse("a.b=1e-3 print(f(x), 'hi') ;; c=true") == [
            Assignment("a.b", 1e-3),
            Invocation("print", (Invocation("f", (Name("x"),)), "hi")),
            Assignment("c", True),
        ]
        with pytest.raises(TspSyntaxError, match="levels"):
            parse("f(" * 20 + ")" * 20)
