"""What the benchmark is to reach, beside what a run has reached; nothing here is measured, all is compared."""

import math
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from benchmark_cases import CASES
from contestants import AUTODIFF, OURS

Result = dict[str, Any]


class Target(NamedTuple):
    """A target beside its figure.

    Attributes:
        what: what is looked at.
        wanted: the target, as "≥ 1.5 ×".
        figure: what was reached, in the same form; "not measured" where a run has nothing to tell.
        reached: whether it was; None where it was not measured.
    """

    what: str
    wanted: str
    figure: str
    reached: bool | None


class Goals(NamedTuple):
    """The targets of one network with plain SGD on a CPU; None for none.

    Attributes:
        best_peer: how many times as fast as the fastest peer, at least.
        sklearn: how many times as fast as scikit-learn, at least.
        floor: an epoch's time over its matmul floor on all cores, at most.
    """

    best_peer: float
    sklearn: float | None
    floor: float


GOALS = {"mnist_300": Goals(1.5, 3.0, 1.5), "mnist_512": Goals(1.3, None, 1.15)}
GPU_EPOCH_SECONDS = {"mnist_300": 0.050, "mnist_512": 0.015}
SWEEP, SWEEP_OF_SKLEARN, SWEEP_ON_GPU, SWEEP_TIME = 256, 20.0, 1024, 4.0
RACE_SECONDS, RACE_OF_TORCH, RACE_OF_SKLEARN, RACE_ACCURACY = 4.0, 0.60, 0.40, 0.98


def targets(result: Result) -> list[Target]:
    """Hold a result against its targets."""
    on_gpu = result["device"].startswith("gpu")
    cases = {case["case"]: case for case in result["cases"] if case["optimizer"] == "sgd"}
    if on_gpu:
        found = [_gpu_epoch(cases.get(name), name, most) for name, most in GPU_EPOCH_SECONDS.items()]
    else:
        found = [target for name, goals in GOALS.items() for target in _speed(cases.get(name), name, goals)]
        found += _race(result.get("race"))
    found += _sweep(result.get("sweep"), on_gpu)
    return [*found, *_against_autodiff(result["cases"])]


def contestant(case: Result, name: str) -> Result | None:
    """Find a contestant that a case has figures of."""
    return next((one for one in case["contestants"] if one["name"] == name and "failure" not in one), None)


def best_peer(case: Result) -> Result | None:
    """Find the fastest peer of a case."""
    peers = [one for one in case["contestants"] if one["kind"] == "peer" and "failure" not in one]
    return min(peers, key=lambda one: one["median_seconds"], default=None)


def floor_seconds(case: Result) -> float:
    """Give an epoch's matmul floor: each product by the library and the number of cores that took least."""
    by_cores = [ceiling["products"] for ceiling in case["ceilings"].values()]
    step = sum(min(product["best_seconds"] for product in same) for same in zip(*by_cores, strict=True))
    return case["examples"] / case["batch_size"] * step


def _ratio(what: str, wanted: float, figure: float, *, at_least: bool, note: str = "") -> Target:
    sign = "≥" if at_least else "≤"
    reached = figure >= wanted if at_least else figure <= wanted
    return Target(what, f"{sign} {wanted:.2f} ×", f"{figure:.2f} ×{note}", reached)


def _missing(what: str, wanted: str) -> Target:
    return Target(what, wanted, "not measured", None)


def _speed(case: Result | None, name: str, goals: Goals) -> Iterator[Target]:
    if case is None:
        yield _missing(f"{CASES[name].title}, SGD: speed", f"≥ {goals.best_peer:.2f} ×")
        return
    what, ours = f"{case['title']}, SGD", contestant(case, OURS)
    assert ours is not None
    peer = best_peer(case)
    if peer is None:
        yield _missing(f"{what}: faster than the best peer", f"≥ {goals.best_peer:.2f} ×")
    else:
        yield _ratio(
            f"{what}: faster than the best peer",
            goals.best_peer,
            peer["time_relative_to_ours"],
            at_least=True,
            note=f" ({peer['title']})",
        )
    if goals.sklearn is not None:
        sklearn, title = contestant(case, "sklearn"), f"{what}: faster than scikit-learn"
        if sklearn is None:
            yield _missing(title, f"≥ {goals.sklearn:.2f} ×")
        else:
            yield _ratio(title, goals.sklearn, sklearn["time_relative_to_ours"], at_least=True)
    share = ours["median_seconds"] / floor_seconds(case)
    yield _ratio(f"{what}: time over the matmul floor", goals.floor, share, at_least=False)


def _gpu_epoch(case: Result | None, name: str, most: float) -> Target:
    what, wanted = f"{CASES[name].title}, SGD: an epoch", f"≤ {1000 * most:.0f} ms"
    ours = None if case is None else contestant(case, OURS)
    if ours is None:
        return _missing(what, wanted)
    seconds = ours["median_seconds"]
    return Target(what, wanted, f"{1000 * seconds:.1f} ms", seconds <= most)


def _race(race: Result | None) -> Iterator[Target]:
    what = f"MNIST to {100 * RACE_ACCURACY:.1f} %, whole process"
    if race is None:
        yield _missing(what, f"≤ {RACE_SECONDS:.1f} s")
        return
    runners = {runner["name"]: runner for runner in race["runners"] if "failure" not in runner}
    ours = runners.get(OURS)
    if ours is None:
        yield _missing(what, f"≤ {RACE_SECONDS:.1f} s")
        return
    accurate, seconds = is_accurate(ours), ours["median_seconds"]
    yield Target(what, f"≤ {RACE_SECONDS:.1f} s", _learnt(ours), accurate and seconds <= RACE_SECONDS)
    for name, most in (("torch", RACE_OF_TORCH), ("sklearn", RACE_OF_SKLEARN)):
        if name not in runners:
            yield _missing(f"{what}: of {name}'s time", f"≤ {100 * most:.0f} %")
            continue
        other = runners[name]
        share = seconds / other["median_seconds"]
        yield Target(
            f"{what}: of {other['title']}'s time",
            f"≤ {100 * most:.0f} %",
            f"{100 * share:.0f} % ({_learnt(other)})",
            accurate and share <= most,
        )


def is_accurate(runner: Result) -> bool:
    """Tell whether the median of a runner's seeds reached the race's accuracy."""
    return statistics.median(runner["accuracies"]) >= RACE_ACCURACY


def _learnt(runner: Result) -> str:
    short = "" if is_accurate(runner) else ", short of the goal"
    return f"{runner['median_seconds']:.2f} s at {100 * statistics.median(runner['accuracies']):.2f} %{short}"


def _sweep(rates: Result | None, on_gpu: bool) -> Iterator[Target]:
    """Compare many networks with one on a GPU, and a network's share of a sweep with scikit-learn's on a CPU."""
    points = {} if rates is None else {point["count"]: point for point in rates["points"]}
    if on_gpu:
        what = f"a sweep of {SWEEP_ON_GPU} networks: time of a single one's"
        if {1, SWEEP_ON_GPU} <= set(points):
            ratio = points[SWEEP_ON_GPU]["median_seconds"] / points[1]["median_seconds"]
            yield _ratio(what, SWEEP_TIME, ratio, at_least=False)
        else:
            yield _missing(what, f"≤ {SWEEP_TIME:.2f} ×")
        return
    what = f"a sweep of {SWEEP} networks on digits: faster than scikit-learn, a network"
    if rates is None or "sklearn" not in rates or SWEEP not in points:
        yield _missing(what, f"≥ {SWEEP_OF_SKLEARN:.2f} ×")
        return
    alone, point = SWEEP * rates["sklearn"]["median_seconds"], points[SWEEP]
    for compiled, key in (
        ("compiled beforehand", "median_seconds"),
        ("compilation included", "first_seconds"),
    ):
        yield _ratio(f"{what}, {compiled}", SWEEP_OF_SKLEARN, alone / point[key], at_least=True)


def noise_of_ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """Estimate the relative standard error of a ratio of two medians.

    The median of n times has about 1.25·s/√n of standard error, s from the median absolute deviation
    (1.48·MAD), so that a single disturbed turn does not count.
    """
    squares = 0.0
    for times in (list(ours), list(theirs)):
        middle = statistics.median(times)
        deviation = 1.48 * statistics.median(abs(time - middle) for time in times)
        squares += (1.25 * deviation / math.sqrt(len(times)) / middle) ** 2
    return math.sqrt(squares)


def _against_autodiff(cases: Iterable[Result]) -> Iterator[Target]:
    """Compare times within twice the noise of their ratio, and temporaries exactly; tell the worst case."""
    pairs = [(case, contestant(case, OURS), contestant(case, AUTODIFF)) for case in cases]
    both = [(case, ours, autodiff) for case, ours, autodiff in pairs if ours and autodiff]
    what = f"hand-written against jax.grad, worst of {len(both)} cases"
    if not both:
        yield _missing(what, "≤ 1.00 ×")
        return
    times = [
        (
            ours["median_seconds"] / autodiff["median_seconds"],
            2 * noise_of_ratio(ours["seconds"], autodiff["seconds"]),
            f"{case['title']}, {case['optimizer']}",
        )
        for case, ours, autodiff in both
    ]
    ratio, noise, worst = max(times, key=lambda time: time[0] - time[1])
    figure = f"{ratio:.2f} ± {noise:.2f} × ({worst})"
    yield Target(f"{what}: time", "≤ 1.00 × within noise", figure, ratio <= 1 + noise)
    sizes = [
        (
            ours["temporaries_bytes"] / autodiff["temporaries_bytes"],
            f" ({case['title']}, {case['optimizer']})",
        )
        for case, ours, autodiff in both
        if ours["temporaries_bytes"] and autodiff["temporaries_bytes"]
    ]
    if sizes:
        share, note = max(sizes)
        yield _ratio(f"{what}: temporaries", 1.0, share, at_least=False, note=note)
