"""What the benchmark is to reach, beside what a run has reached; nothing here is measured, all is compared."""

import statistics
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cases import CASES
from measurement import Result, noise_of_ratio
from peers import AUTODIFF, OURS


class Target(NamedTuple):
    """A target beside its figure."""

    what: str
    wanted: str  # as "≥ 1.5 ×"
    figure: str = "not measured"
    reached: bool | None = None  # None where it was not measured


class Goals(NamedTuple):
    """The targets of one network with plain SGD on a CPU; None for none."""

    best_peer: float  # how many times as fast as the fastest peer, at least
    sklearn: float | None  # the same of scikit-learn
    floor: float  # an epoch's time over its matmul floor on all cores, at most


GOALS = {"mnist_300": Goals(1.5, 3.0, 1.5), "mnist_512": Goals(1.3, None, 1.15)}
SWEEP, SWEEP_OF_SKLEARN = 256, 20.0
ACCURACY, SHARES = 0.98, {"torch": 0.60, "sklearn": 0.40}
SECOND_RUN = {"digits": 2.5, "mnist": 2.6}  # seconds of a whole process that finds its programs compiled


def targets(result: Result) -> list[Target]:
    """Hold a result against its targets; those of speed are of a CPU."""
    found: list[Target] = []
    if result["device"] == "cpu":
        cases = {case["case"]: case for case in result["cases"] if case["optimizer"] == "sgd"}
        found += [target for name, goals in GOALS.items() for target in _speed(cases.get(name), name, goals)]
        found += _time_to_accuracy(result.get("time_to_accuracy"))
        found += _sweep(result.get("sweep"))
    return [*found, *_against_autodiff(result["cases"])]


def peer(case: Result, name: str) -> Result | None:
    """Find a peer that a case has figures of."""
    return next((one for one in measured(case) if one["name"] == name), None)


def measured(case: Result) -> list[Result]:
    """List the peers that a case has figures of."""
    return [one for one in case["peers"] if "failure" not in one]


def floor_seconds(case: Result) -> float:
    """Give an epoch's matmul floor: each product by the library and the number of cores that took least."""
    by_cores = [ceiling["products"] for ceiling in case["ceilings"].values()]
    step = sum(min(product["best_seconds"] for product in same) for same in zip(*by_cores, strict=True))
    return case["examples"] / case["batch_size"] * step


def _ratio(what: str, wanted: float, figure: float | None, *, at_least: bool, note: str = "") -> Target:
    said = f"{'≥' if at_least else '≤'} {wanted:.2f} ×"
    if figure is None:
        return Target(what, said)
    return Target(what, said, f"{figure:.2f} ×{note}", figure >= wanted if at_least else figure <= wanted)


def _speed(case: Result | None, name: str, goals: Goals) -> Iterator[Target]:
    what = f"{CASES[name].title}, SGD"
    if case is None:
        yield _ratio(f"{what}: speed", goals.best_peer, None, at_least=True)
        return
    ours, sklearn = peer(case, OURS), peer(case, "sklearn")
    assert ours is not None
    others = [one for one in measured(case) if one["kind"] == "peer"]
    best = min(others, key=lambda one: one["median_seconds"], default=None)
    yield _ratio(
        f"{what}: faster than the best peer",
        goals.best_peer,
        best["time_relative_to_ours"] if best else None,
        at_least=True,
        note=f" ({best['title']})" if best else "",
    )
    if goals.sklearn is not None:
        ratio = sklearn["time_relative_to_ours"] if sklearn else None
        yield _ratio(f"{what}: faster than scikit-learn", goals.sklearn, ratio, at_least=True)
    share = ours["median_seconds"] / floor_seconds(case)
    yield _ratio(f"{what}: time over the matmul floor", goals.floor, share, at_least=False)


def _time_to_accuracy(result: Result | None) -> Iterator[Target]:
    what, most = f"MNIST to {100 * ACCURACY:.1f} %, whole process", SECOND_RUN["mnist"]
    programs = {one["name"]: one for one in (result or {}).get("programs", ()) if "failure" not in one}
    ours = programs.get(OURS)
    if ours is None:
        yield Target(what, f"≤ {most:.1f} s")
        return
    accurate, seconds = is_accurate(ours), ours["median_seconds"]
    yield Target(what, f"≤ {most:.1f} s", _learnt(ours), accurate and seconds <= most)
    for name, share in SHARES.items():
        wanted, other = f"≤ {100 * share:.0f} %", programs.get(name)
        if other is None:
            yield Target(f"{what}: of the time of {name}", wanted)
            continue
        found = seconds / other["median_seconds"]
        yield Target(
            f"{what}: of the time of {other['title']}",
            wanted,
            f"{100 * found:.0f} % ({_learnt(other)})",
            accurate and found <= share,
        )


def is_accurate(program: Result) -> bool:
    """Tell whether the median of a program's seeds reached the accuracy."""
    return statistics.median(program["accuracies"]) >= ACCURACY


def _learnt(program: Result) -> str:
    short = "" if is_accurate(program) else ", short of the goal"
    return (
        f"{program['median_seconds']:.2f} s at {100 * statistics.median(program['accuracies']):.2f} %{short}"
    )


def _sweep(rates: Result | None) -> Iterator[Target]:
    """Compare a network's share of a sweep with scikit-learn's."""
    points = {point["count"]: point for point in (rates or {}).get("points", ())}
    what = f"a sweep of {SWEEP} networks on digits: faster than scikit-learn, a network"
    if rates is None or "sklearn" not in rates or SWEEP not in points:
        yield _ratio(what, SWEEP_OF_SKLEARN, None, at_least=True)
        return
    theirs, point = SWEEP * rates["sklearn"]["median_seconds"], points[SWEEP]
    for kind, key in (("compiled beforehand", "median_seconds"), ("compilation included", "first_seconds")):
        yield _ratio(f"{what}, {kind}", SWEEP_OF_SKLEARN, theirs / point[key], at_least=True)


def _against_autodiff(cases: Iterable[Result]) -> Iterator[Target]:
    """Compare times within twice the noise of their ratio, and temporaries exactly; tell the worst case."""
    pairs = [(case, peer(case, OURS), peer(case, AUTODIFF)) for case in cases]
    both = [
        (f"{case['title']}, {case['optimizer']}", ours, twin) for case, ours, twin in pairs if ours and twin
    ]
    what = f"hand-written against jax.grad, worst of {len(both)} cases"
    if not both:
        yield _ratio(what, 1.0, None, at_least=False)
        return
    times, sizes = [], []
    for case, ours, twin in both:
        noise = 2 * noise_of_ratio(ours["seconds"], twin["seconds"])
        times.append((ours["median_seconds"] / twin["median_seconds"], noise, case))
        if ours["temporaries_bytes"] and twin["temporaries_bytes"]:
            sizes.append((ours["temporaries_bytes"] / twin["temporaries_bytes"], f" ({case})"))
    ratio, noise, worst = max(times, key=lambda time: time[0] - time[1])
    figure = f"{ratio:.2f} ± {noise:.2f} × ({worst})"
    yield Target(f"{what}: time", "≤ 1.00 × within noise", figure, ratio <= 1 + noise)
    if sizes:
        share, note = max(sizes)
        yield _ratio(f"{what}: temporaries", 1.0, share, at_least=False, note=note)
