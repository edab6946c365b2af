"""What the lessons' programs cannot run is refused in one line, before anything is written."""

from pathlib import Path

import pytest
from command_runs import run_experiment

REFUSALS = [
    ("worked_example", "--sizes 2", "--sizes takes at least two numbers"),
    ("worked_example", "--sizes 2 0 2", "--sizes takes at least two numbers of at least 1"),
    ("worked_example", "--activation rellu", "did you mean 'relu'?"),
    ("worked_example", "--output-activation sofmax", "unknown activation 'sofmax'"),
    ("worked_example", "--loss half_squared", "did you mean 'half_squared_error'?"),
    ("worked_example", "--inputs 1 2 3", "inputs must have shape [N, 2]"),
    ("worked_example", "--inputs 1 nan", "NaN or infinite"),
    ("worked_example", "--targets 1", "targets of shape [N, 2]"),
    ("worked_example", "--targets 3 --loss negative_log_likelihood", "labels must lie in 0 to 1"),
    ("worked_example", "--targets 0.5 --loss negative_log_likelihood", "a whole number from 0, given [0.5]"),
    ("worked_example", "--learning-rate -1", "a finite number above 0"),
    ("worked_example", "--learning-rate", "given nothing"),
    ("worked_example", "--goal 0", "--goal must be above 0"),
    ("worked_example", "--most-updates 0", "--most-updates must be at least 1"),
    ("worked_example", "--seed -1", "--seed must be at least 0"),
    ("worked_example", "--weights nowhere.json", "nowhere.json"),
    ("mnist_lab", "--activations relo", "did you mean 'relu'"),
    ("mnist_lab", "--activations identity", "identity is no activation"),
    ("mnist_lab", "--activations", "--activations is empty"),
    ("mnist_lab", "--deep-layers 3", "--deep-layers takes numbers above 3, given 3"),
    ("mnist_lab", "--seeds 0", "--seeds must be at least 1, given 0"),
    ("mnist_lab", "--epochs -1", "--epochs must be at least 1"),
    ("mnist_lab", "--hidden 0", "--hidden must be at least 1"),
    ("mnist_lab", "--learning-rate inf", "a learning rate must be a finite number above 0"),
    ("mnist_lab", "--init he", "unknown initialiser 'he'"),
    ("mnist_lab", "--dataset sine", "this study is about classes, 'sine' is a regression"),
    ("two_layer_mnist", "many", "argument --hidden: invalid int value: 'many'"),
    ("two_layer_mnist", "0", "the hidden size must be at least 1, given 0"),
    ("two_layer_mnist", "8 -3", "the number of epochs must be at least 1, given -3"),
    ("two_layer_mnist", "8 3 0", "the batch size must be at least 1"),
    ("two_layer_mnist", "8 3 4 nan", "a learning rate must be a finite number above 0, given nan"),
    ("two_layer_mnist", "8 3 4 0.1 7", "unrecognized arguments: 7"),
    ("two_layer_mnist", "--seeds 0", "the number of seeds must be"),
    ("two_layer_mnist", "--examples 0", "the number of examples must be"),
    ("two_layer_mnist", "--init xavir", "did you mean 'xavier'"),
    ("two_layer_mnist", "--mode batsh", "did you mean 'batch'"),
    ("two_layer_mnist", "--target-accuracy 98", "write 0.98 for 98 %"),
    ("two_layer_mnist", "--hidden-sizes 8", "give --table with them"),
    ("two_layer_mnist", "--dataset sine", "this study is about classes, 'sine' is a regression"),
    ("two_layer_mnist", "--dataset digit", "did you mean 'digits'"),
    ("build_your_own_framework", "--seeds 0", "--seeds must be at least 1"),
    ("build_your_own_framework", "--steps 0", "--steps must be at least 1"),
]


@pytest.mark.parametrize(("program", "arguments", "said"), REFUSALS)
def test_what_cannot_be_run_is_refused_in_one_line(
    program: str, arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_experiment(program, *arguments.split())
    assert outcome.status == 2
    assert said in outcome.error_line
    assert not list(tmp_path.iterdir()), "it wrote something"
