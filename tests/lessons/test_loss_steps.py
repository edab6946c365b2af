"""Every loss of the registry can be followed, those written out term by term and any other by its value."""

import pytest
from worked_cases import example_of, stages_of

from jaxmlp import LOSSES


@pytest.fixture(autouse=True)
def _float64(x64: None) -> None:
    return


def test_a_loss_that_is_not_written_out_is_named_with_its_value() -> None:
    stage = next(stage for stage in stages_of(example_of("--loss", "huber")) if stage.title == "loss: huber")
    assert [step.name for step in stage.steps] == ["E"]
    assert "huber" in stage.rules[0]


@pytest.mark.slow
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_can_be_followed(loss: str) -> None:
    stages = stages_of(example_of("--loss", loss))
    assert [stage.title.partition(":")[0] for stage in stages].count("loss") == 1
