import re
from pathlib import Path
from typing import Any

import pytest
from command_runs import Outcome, run_experiment
from slow_cases import others_slow

from jaxmlp import LOSSES
from jaxmlp.activations import ACTIVATIONS
from jaxmlp.layers import Dense

SMALL = ("--sizes", "3x4x2", "--batch-size", "3", "--entries", "3")


def check(*arguments: str) -> Outcome:
    return run_experiment("gradcheck", *SMALL, *arguments)


def test_a_row_a_tensor_and_status_0_whatever_draws_the_seed() -> None:
    first, again, other = (check("--seed", seed) for seed in ("1", "1", "2"))
    assert first == again
    assert first.out != other.out
    assert (first.status, first.err) == (0, "")
    cells = [re.split(r"\s{2,}", line.strip()) for line in first.out.splitlines()]
    table = {name: row for name, *row in cells if re.fullmatch(r"\d\.[wb]", name)}
    shapes = {name: row[0] for name, row in table.items()}
    assert shapes == {"0.w": "[3, 4]", "0.b": "[4]", "2.w": "[4, 2]", "2.b": "[2]"}
    for _, by_autodiff, by_differences, *_ in table.values():
        assert 0 <= float(by_autodiff) < 1e-10
        assert 0 <= float(by_differences) < 1e-4
    assert first.out.splitlines()[-1] == "every row is within its bound"
    assert "loss softmax_cross_entropy, batch of 3, float64" in first.out


@pytest.mark.parametrize("loss", others_slow(LOSSES))
def test_every_loss_can_be_checked(loss: str) -> None:
    outcome = check("--loss", loss, "--weighted", "--l2", "0.1")
    assert outcome.status == 0, outcome.out
    assert f"loss {loss}, batch of 3" in outcome.out
    assert ("softmax" in outcome.out.partition("\n\n")[0]) == (loss == "negative_log_likelihood")


def test_a_batch_of_a_data_set_can_be_checked() -> None:
    outcome = run_experiment("gradcheck", "--dataset", "moons", "--sizes", "2", "3", "2", "--batch-size", "7")
    assert outcome.status == 0
    assert "batch of 7" in outcome.out


def test_a_file_can_be_checked_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("a,b,price\n" + "1,2,3.5\n2,1,4.5\n" * 9)
    given = ("--dataset", tmp_path / "own.csv", "--target", "price", "--sizes", "2", "3", "1")
    outcome = run_experiment("gradcheck", *given, "--loss", "squared_error")
    assert outcome.status == 0, outcome.err
    assert "batch of 14" in outcome.out


RELU, ENTROPY, BACKWARD = ACTIVATIONS["relu"], LOSSES["softmax_cross_entropy"], Dense.backward
STEEPER = RELU._replace(derivative=lambda z, a: 1.001 * RELU.derivative(z, a))
NEGATED = ENTROPY._replace(gradient=lambda outputs, targets: -ENTROPY.gradient(outputs, targets))


def double_bias(self: Dense, params: Any, residuals: Any, output_grad: Any) -> Any:
    grads, input_grad = BACKWARD(self, params, residuals, output_grad)
    return grads._replace(b=2 * grads.b), input_grad


@pytest.mark.parametrize(
    ("batch", "owner", "name", "wrong", "over"),
    [
        (4, ACTIVATIONS, "relu", STEEPER, "0.w 0.b"),
        (5, LOSSES, "softmax_cross_entropy", NEGATED, "0.w 0.b 2.w 2.b"),
        (6, Dense, "backward", double_bias, "0.b 2.b"),
    ],
    ids=["derivative", "gradient of a loss", "backward of a layer"],
)
def test_a_wrong_rule_is_status_1_and_its_tensor_is_named(
    batch: int, owner: Any, name: str, wrong: Any, over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if owner is Dense:
        monkeypatch.setattr(owner, name, wrong)
    else:
        monkeypatch.setitem(owner._things, name, wrong)
    outcome = check("--batch-size", str(batch))  # of no other test: what was compiled outlives the corruption
    assert (outcome.status, outcome.err) == (1, "")
    assert outcome.out.splitlines()[-1] == "NOT every row is within its bound"
    worst = re.search(r"worst against autodiff: (\S+),", outcome.out)
    assert worst is not None
    assert worst.group(1) in over.split()
