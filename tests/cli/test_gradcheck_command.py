import re
from collections.abc import Iterator
from typing import Any

import jax
import pytest
from command_runs import Outcome, run_experiment
from slow_cases import others_slow

from jaxmlp import LOSSES
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers import Dense

SMALL = ("--sizes", "3", "4", "2", "--batch-size", "3", "--entries", "3")


def check(*arguments: str) -> Outcome:
    return run_experiment("gradcheck", *SMALL, *arguments)


def rows(outcome: Outcome) -> dict[str, list[str]]:
    """The table's rows by their tensor, in columns."""
    found = (re.split(r"\s{2,}", line.strip()) for line in outcome.out.splitlines())
    return {
        cells[0]: cells[1:] for cells in found if re.fullmatch(r"\d+\.[wb]|direction|.*direction.*", cells[0])
    }


def test_a_row_a_tensor_and_status_0() -> None:
    outcome = check()
    assert (outcome.status, outcome.err) == (0, "")
    table = rows(outcome)
    shapes = {name: cells[0] for name, cells in table.items() if name[0].isdigit()}
    assert shapes == {"0.w": "[3, 4]", "0.b": "[4]", "2.w": "[4, 2]", "2.b": "[2]"}
    for name in shapes:
        assert 0 <= float(table[name][1]) < 1e-10
        assert 0 <= float(table[name][2]) < 1e-4
    assert outcome.out.splitlines()[-1] == "every row is within its bound"
    assert "loss softmax_cross_entropy, batch of 3, float64" in outcome.out


@pytest.mark.parametrize("loss", others_slow(LOSSES))
def test_every_loss_can_be_checked(loss: str) -> None:
    with jax.disable_jit():
        outcome = check("--loss", loss, "--weighted", "--l2", "0.1")
    assert outcome.status == 0, outcome.out
    assert f"loss {loss}, batch of 3" in outcome.out
    assert ("softmax" in outcome.out.partition("\n\n")[0]) == (loss == "negative_log_likelihood")


def test_a_batch_of_a_data_set_can_be_checked() -> None:
    outcome = run_experiment("gradcheck", "--dataset", "moons", "--sizes", "2", "3", "2", "--batch-size", "7")
    assert outcome.status == 0
    assert "batch of 7" in outcome.out


def test_the_seed_draws_the_batch_and_the_parameters() -> None:
    first, again, other = (check("--seed", seed).out for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Compile nothing, so that no rule outlives its corruption."""
    with jax.disable_jit():
        yield


def check_caught(outcome: Outcome, *over: str) -> None:
    assert outcome.status == 1
    assert outcome.err == ""
    assert outcome.out.splitlines()[-1] == "NOT every row is within its bound"
    worst = re.search(r"worst against autodiff: (\S+),", outcome.out)
    assert worst is not None
    assert worst.group(1) in over


@pytest.mark.usefixtures("uncompiled")
def test_a_wrong_derivative_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ACTIVATIONS["relu"]
    wrong = right._replace(derivative=lambda z, a: 1.001 * right.derivative(z, a))
    monkeypatch.setitem(ACTIVATIONS._things, "relu", wrong)  # type: ignore[attr-defined]
    check_caught(check(), "0.w", "0.b")


@pytest.mark.usefixtures("uncompiled")
def test_a_wrong_backward_of_a_layer_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Dense.backward

    def wrong(self: Dense, params: Any, residuals: Any, output_grad: Any) -> Any:
        grads, input_grad = right(self, params, residuals, output_grad)
        return grads._replace(b=2 * grads.b), input_grad

    monkeypatch.setattr(Dense, "backward", wrong)
    check_caught(check(), "0.b", "2.b")


@pytest.mark.usefixtures("uncompiled")
def test_a_wrong_gradient_of_a_loss_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LOSSES["softmax_cross_entropy"]
    wrong = right._replace(gradient=lambda outputs, targets: -right.gradient(outputs, targets))
    monkeypatch.setitem(LOSSES._things, "softmax_cross_entropy", wrong)  # type: ignore[attr-defined]
    check_caught(check(), "0.w", "0.b", "2.w", "2.b")
