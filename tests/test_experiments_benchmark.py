import json
import re
from pathlib import Path
from typing import Any

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark import BenchmarkOptions
from experiment_runs import run_experiment

from jaxmlp import Batch, Network, init_state, make_optimizer, mlp, train_epoch, training

SMALL = ("--sizes", "3", "4", "2", "--examples", "10", "--batch-size", "4", "--repeats", "2")


def test_it_prints_the_ratios_and_writes_the_figures(tmp_path: Path) -> None:
    outcome = run_experiment("benchmark", *SMALL, "--out", tmp_path / "result.json")
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(r"^hand-written against jax.grad, the same scan: [\d.]+ of its time$", outcome.out, re.M)
    assert re.search(
        r"^scan against a jitted step in a Python loop: [\d.]+ times as fast$", outcome.out, re.M
    )
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result["what"].startswith("one epoch of 10 examples, 3-4-2, batch 4")
    assert result["repeats"] == 2
    assert set(result["machine"]["versions"]) >= {"jax", "jaxlib"}
    assert len(result["cases"]) == 4
    for case in result["cases"]:
        assert case["name"] in outcome.out
        assert 0 < case["least_seconds"] <= case["median_seconds"] <= case["largest_seconds"]
        ratio = case["median_seconds"] / result["cases"][0]["median_seconds"]
        assert case["time_relative_to_first"] == pytest.approx(ratio)
    scans, loops = result["cases"][:2], result["cases"][2:]
    assert all(case["temporaries_bytes"] > 0 for case in scans)
    assert all(case["temporaries_bytes"] is None for case in loops)


def a_setting() -> tuple[Network, Any, Any, Batch, BenchmarkOptions]:
    options = BenchmarkOptions(sizes=(3, 4, 2), examples=10, batch_size=4, repeats=1)
    net, optimizer = mlp(options.sizes), make_optimizer("sgd", 0.1)
    return (
        net,
        optimizer,
        init_state(net, optimizer, jax.random.key(0)),
        benchmark.draw_data(options),
        options,
    )


def close(left: Any, right: Any) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)


def test_both_scans_train_the_packages_own_epoch() -> None:
    # A ratio of times means something only where both did the same work.
    net, optimizer, state, data, options = a_setting()
    expected, _ = train_epoch(net, optimizer, state, data, batch_size=options.batch_size)
    for gradient in (training.objective_and_grads, benchmark.autodiff_objective):
        case = benchmark.scan_case("scan", gradient, net, optimizer, state, data, options)
        assert close(case.epoch(state).params, expected.params)
        assert int(case.epoch(state).step) == 3
    assert not close(state.params, expected.params)


def test_both_loops_train_an_epoch_of_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    net, optimizer, state, data, options = a_setting()
    expected, _ = train_epoch(net, optimizer, state, data, batch_size=options.batch_size, shuffle=False)
    in_order = benchmark.minibatch_indices
    monkeypatch.setattr(
        benchmark, "minibatch_indices", lambda key, examples, size: in_order(None, examples, size)
    )
    for build in (benchmark.loop_case, benchmark.blind_loop_case):
        trained = build(net, optimizer, data, options).epoch(state)
        assert close(trained.params, expected.params)
        assert int(trained.step) == 3


def test_the_case_of_autodiff_does_not_run_the_rules_by_hand() -> None:
    net, optimizer, state, data, options = a_setting()

    def zeros(net: Network, params: Any, inputs: Any, targets: Any, **keywords: Any) -> Any:
        objective = benchmark.autodiff_objective(net, params, inputs, targets, **keywords)
        return objective._replace(grads=jax.tree.map(jnp.zeros_like, objective.grads))

    before = training.objective_and_grads
    case = benchmark.scan_case("still", zeros, net, optimizer, state, data, options)
    assert close(case.epoch(state).params, state.params)  # the given gradient is the one that is compiled
    assert training.objective_and_grads is before  # and the package is as it was


def test_medians_and_ratios_are_those_of_the_times() -> None:
    cases = [benchmark.Case(name, lambda state: state, None) for name in ("a", "b")]
    options = BenchmarkOptions(sizes=(3, 2), examples=5, batch_size=2, repeats=3)
    result = benchmark.summarise(cases, {"a": [2.0, 1.0, 9.0], "b": [4.0, 5.0, 3.0]}, options)
    assert [case["median_seconds"] for case in result["cases"]] == [2.0, 4.0]
    assert [case["time_relative_to_first"] for case in result["cases"]] == [1.0, 2.0]
    assert [case["least_seconds"] for case in result["cases"]] == [1.0, 3.0]
    assert [case["largest_seconds"] for case in result["cases"]] == [9.0, 5.0]


def test_the_first_turn_is_not_counted() -> None:
    turns = {"a": 0, "b": 0}

    def case(name: str) -> benchmark.Case:
        def epoch(state: Any) -> Any:
            turns[name] += 1
            return state

        return benchmark.Case(name, epoch, None)

    seconds = benchmark.time_in_turn([case("a"), case("b")], None, 3)
    assert turns == {"a": 4, "b": 4}
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}
