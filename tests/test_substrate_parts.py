"""The parts that substrates hold: a latch, stored states, counts that are refused."""

import pytest

from eqp_hw.errors import CapabilityError, SubstrateError
from eqp_hw.substrate import StateToken
from eqp_hw.substrate_parts import Latch, StoredStates, check_repeats, check_replicas


def test_a_latch_stays_closed() -> None:
    latch = Latch("the emulator")
    latch.require_open()
    latch.close()
    latch.close()
    with pytest.raises(SubstrateError, match="the emulator was closed"):
        latch.require_open()


def test_states_come_back_by_their_tokens_until_they_are_forgotten() -> None:
    states = StoredStates[str]()
    first, second = states.store("one"), states.store("two")
    assert (states.recall(second), states.recall(first)) == ("two", "one")
    states.change(str.upper)
    assert states.recall(first) == "ONE"
    states.clear()
    for token in (first, second, StateToken(0)):
        with pytest.raises(SubstrateError, match="unknown or was forgotten"):
            states.recall(token)
    assert states.store("three") not in {first, second}


def test_counts_are_refused_with_what_is_allowed() -> None:
    check_repeats(1)
    with pytest.raises(SubstrateError, match="repeats = 0: at least one read"):
        check_repeats(0)
    check_replicas(2, 2)
    with pytest.raises(CapabilityError, match="fewer replicas") as caught:
        check_replicas(3, 2)
    assert (caught.value.value, caught.value.allowed) == (3, "at most 2")
