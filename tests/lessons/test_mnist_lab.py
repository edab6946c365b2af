"""The lab from its command line to its report."""

import json
import os
import re
from pathlib import Path

import jax
import mnist_lab
import numpy as np
import pytest
from command_runs import Outcome, run_experiment
from lab_answers import QUESTIONS
from lab_runs import survey
from lesson_studies import draw_params
from PIL import Image

from jaxmlp import Batch, mlp, trace
from jaxmlp.datasets.mnist import MANUAL_DIR_VARIABLE

SMALL = ("--examples", "100", "--hidden", "6", "--epochs", "2", "--seeds", "2")
KINDS = (*SMALL, "--activations", "tanh", "--deep-activations", "tanh", "--deep-layers", "4")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("lab") / "run"
    return folder, run_experiment("mnist_lab", "--dataset", "digits", *KINDS, "--out", folder)


@pytest.mark.slow
def test_the_four_questions_are_answered_on_the_screen_and_in_the_report(lab: tuple[Path, Outcome]) -> None:
    folder, outcome = lab
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert outcome.status == 0
    for question in QUESTIONS.values():
        answer = outcome.out.split(f"{question}\n")[1].split("\n")[0]
        assert f"## {question}\n\n**{answer}**" in report
    assert str(folder / "report.md") in outcome.out
    named = re.findall(r"!\[.*?\]\((.*?)\)", report)
    assert sorted(named) == sorted(path.name for path in folder.glob("*.png"))
    assert len(named) == 8
    for name in named:
        with Image.open(folder / name) as picture:
            assert len(set(picture.convert("L").get_flattened_data())) > 10


@pytest.mark.slow
def test_the_numbers_of_the_report_are_those_that_were_measured(lab: tuple[Path, Outcome]) -> None:
    folder, _ = lab
    report = (folder / "report.md").read_text(encoding="utf-8")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    kinds = {(result["activation"], result["depth"]) for result in results}
    assert {("single layer", 1), ("tanh", 4)} < kinds
    assert len(results) == len(kinds) == 6
    for result in results:
        depth, final = result["depth"], 100 * np.array(result["test_accuracy"])[:, -1]
        assert np.shape(result["gradient_norm"]) == np.shape(result["max_weight"]) == (2, 3, depth)
        assert f"{final.mean():.2f} % ({final.min():.2f} % to {final.max():.2f} %)" in report
        assert result["max_weight"][0] != result["max_weight"][1], "seeds do not differ"


@pytest.mark.parametrize(("is_here", "taken"), [(True, "mnist"), (False, "digits")])
def test_without_a_name_mnist_is_taken_where_it_is_here(
    is_here: bool, taken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist_lab, "is_at_hand", lambda name, **_: is_here)
    assert mnist_lab.usual_dataset(mnist_lab.LabOptions()) == taken
    assert ("mnist is not here: taking digits" in capsys.readouterr().out) == (not is_here)


@pytest.mark.slow
def test_a_survey_is_what_a_trace_holds() -> None:
    net, random = mlp([6, 5, 3], activation="tanh"), np.random.default_rng(0)
    batch = Batch(random.normal(size=(22, 6)).astype(np.float32), random.integers(0, 3, 22))
    params = draw_params(net, 3)
    norms, largest = survey(net, params, batch)
    assert norms.shape == largest.shape == (3, 2)
    for place in range(3):
        traced = trace(net, jax.tree.map(lambda leaf, place=place: leaf[place], params), *batch[:2])
        dense = [layer for layer in traced.layers if layer.params]
        gradients = [np.linalg.norm(layer.param_grads.w) for layer in dense]
        np.testing.assert_allclose(norms[place], gradients, rtol=1e-5)
        np.testing.assert_allclose(largest[place], [np.abs(layer.params.w).max() for layer in dense])


@pytest.mark.slow
def test_a_network_that_diverges_is_told_and_not_judged(tmp_path: Path) -> None:
    flags = [*SMALL, "--examples", "200", "--activations", "relu", "--learning-rate", "1e30"]
    flags += ["--deep-activations", "--deep-layers"]
    outcome = run_experiment("mnist_lab", "--dataset", "digits", *flags, "--out", tmp_path / "run")
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert outcome.status == 0
    assert "| relu, 2 layers | not finite in 2 of 2 seeds |" in report
    assert "These runs cannot answer" in outcome.out


@pytest.mark.slow
@pytest.mark.skipif(
    MANUAL_DIR_VARIABLE not in os.environ,
    reason=f"{MANUAL_DIR_VARIABLE} names no folder with MNIST's archives",
)
def test_on_mnist_a_hidden_layer_with_relu_beats_none(tmp_path: Path) -> None:
    flags = ["--activations", "relu", "--deep-layers", "--deep-activations", "--epochs", "4", "--seeds", "2"]
    outcome = run_experiment("mnist_lab", *flags, "--quiet", "--out", tmp_path / "run")
    assert outcome.status == 0
    assert "It does: with every activation tried" in outcome.out
