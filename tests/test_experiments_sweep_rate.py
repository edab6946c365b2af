import pytest
import sweep_rate
from worker_process import WorkerFailed


def test_a_sweep_is_timed() -> None:
    point = sweep_rate.measure(3, "cpu", epochs=1)
    assert point["count"] == 3
    assert point["networks_a_second"] == pytest.approx(3 / point["seconds"])
    assert 0.1 < point["best_score"] <= 1  # it learns more than chance


def test_a_sweep_that_fails_is_told() -> None:
    with pytest.raises(WorkerFailed, match=r"the sweep of 1 networks failed: .*'gup'"):
        sweep_rate.measure_rates("gup", (1,), lambda line: None)
