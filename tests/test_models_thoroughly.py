"""The machines of `test_model` and `test_catalog_model`, which the normal run tries a few times, for long."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine

from tests.test_catalog_model import CatalogMachine
from tests.test_model import LayoutsMachine, StoreMachine


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [StoreMachine, LayoutsMachine, CatalogMachine])
def test_thoroughly(machine: type[RuleBasedStateMachine]) -> None:
    long = settings(max_examples=300, stateful_step_count=40, deadline=None)
    case = type("Thorough", (machine.TestCase,), {"settings": long})
    case("runTest").runTest()
