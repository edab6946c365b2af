"""The lab's answers, as sentences made from the measured numbers; where these show nothing, they say so."""

from collections.abc import Collection, Mapping, Sequence
from math import comb
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lab_runs import IDENTITY, PROBED, SINGLE, Kind, Plan, Runs
from side_by_side import percent, spread

from jaxmlp.cli.text import markdown
from jaxmlp.files import write_text

ABOVE, BELOW, OVERLAP, UNKNOWN = "above", "below", "overlap", "unknown"
VANISHED, EXPLODED = 0.1, 10.0  # of the first layer's gradient norm to the last's


class Setup(NamedTuple):
    """What the report says of how it was made."""

    dataset: str  # the data set's name
    train_examples: int  # how many were trained on
    test_examples: int  # how many were tested on
    commonest: float  # share of the commonest class among the test examples
    plan: Plan  # how every kind was trained
    machine: str  # the processor, devices and versions


def compare(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Compare two sets of results over seeds: only ranges that do not overlap count as a difference."""
    if min(len(ours), len(theirs)) < 2 or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return UNKNOWN
    if ours.min() > theirs.max():
        return ABOVE
    return BELOW if ours.max() < theirs.min() else OVERLAP


def chance(seeds: int) -> float:
    """Tell how often two kinds that do not differ have ranges that do not overlap: 2 / C(2M, M)."""
    return 2 / comb(2 * seeds, seeds)


def short(value: float) -> str:
    return f"{value:.2g}" if 1e-3 <= value < 1000 else f"{value:.1e}"


def share(values: np.ndarray) -> str:
    """Write accuracies by their mean and range."""
    return spread(values, percent, np.mean)


def accuracy_of(runs: Runs, activation: str, depth: int) -> np.ndarray:
    return runs[Kind(SINGLE, 1) if depth == 1 else Kind(activation, depth)].accuracy


def activations_of(runs: Runs, depth: int) -> list[str]:
    """Name the activations that were tried with a number of layers, without identity."""
    return [
        kind.activation for kind in runs if kind.depth == depth and kind.activation not in (IDENTITY, SINGLE)
    ]


# What a verdict says in a list, and at the end of a sentence about two results.
WORDS = {
    ABOVE: ("above in every seed", "above it in every seed"),
    BELOW: ("below in every seed", "below it in every seed"),
    OVERLAP: ("not told apart", "not told apart from it: the ranges overlap"),
    UNKNOWN: ("not judged", "not judged: that needs at least 2 seeds and finite results"),
}


def grouped(verdicts: Mapping[str, str]) -> str:
    """List comparisons by their verdicts."""
    names = {
        words[0]: [name for name, given in verdicts.items() if given == verdict]
        for verdict, words in WORDS.items()
    }
    return "; ".join(f"{word}: {', '.join(found)}" for word, found in names.items() if found)


def judged(ours: np.ndarray, theirs: np.ndarray) -> str:
    """End a sentence about two results."""
    return WORDS[compare(ours, theirs)][1]


def conclude(verdicts: Collection[str], *, all_above: str, some: str, none: str) -> str:
    """Choose the sentence that the verdicts support."""
    if all(verdict == UNKNOWN for verdict in verdicts):
        return "These runs cannot answer: that needs at least 2 seeds with finite results."
    if all(verdict == ABOVE for verdict in verdicts):
        return all_above
    return some if ABOVE in verdicts or BELOW in verdicts else none


LINEAR = (
    "- Several layers without an activation between them are one linear map, x·W₁·W₂ = x·(W₁W₂): they can compute no "
    "more than a single layer does. Where they differ from it, they differ in how fast they learn."
)


def answer_activation(runs: Runs) -> list[str]:
    """Answer whether the activation between layers matters."""
    verdicts: dict[str, str] = {}
    lines = []
    single = accuracy_of(runs, SINGLE, 1)
    for depth in (2, 3):
        base = accuracy_of(runs, IDENTITY, depth)
        lines.append(
            f"- {depth} layers without an activation: {share(base)}; a single layer, "
            f"{share(single)}, is {judged(single, base)}."
        )
        for name in activations_of(runs, depth):
            ours = accuracy_of(runs, name, depth)
            verdicts[f"{name} ({depth})"] = compare(ours, base)
            lines.append(f"- {depth} layers with {name}: {share(ours)}, {judged(ours, base)}.")
    answer = conclude(
        verdicts.values(),
        all_above="It does: with every activation tried, the network was above the one without, in every seed.",
        some="It makes a difference, but not the same one for every activation and depth.",
        none="These numbers do not show that it does: all ranges overlap with those without an activation.",
    )
    first = f"{answer} Against no activation (2 or 3 layers): {grouped(verdicts)}."
    return [first, LINEAR, *lines, *_among_activations(runs)]


def _among_activations(runs: Runs) -> list[str]:
    lines = []
    for depth in (2, 3):
        names = activations_of(runs, depth)
        ordered = sorted(names, key=lambda name: -float(np.mean(accuracy_of(runs, name, depth))))
        if len(ordered) > 1:
            best, worst = (accuracy_of(runs, name, depth) for name in (ordered[0], ordered[-1]))
            lines.append(
                f"- Among activations, {depth} layers: highest mean {ordered[0]}, {share(best)}; the lowest, "
                f"{ordered[-1]}, {share(worst)}, is {judged(worst, best)}."
            )
    return lines


def answer_layers(runs: Runs) -> list[str]:
    """Answer whether 2 or 3 layers are needed."""
    lines, answers = [], []
    for depth in (2, 3):
        verdicts = {}
        for name in activations_of(runs, depth):
            ours, fewer = accuracy_of(runs, name, depth), accuracy_of(runs, name, depth - 1)
            verdicts[name] = compare(ours, fewer)
            gain = 100 * (float(np.mean(ours)) - float(np.mean(fewer)))
            lines.append(
                f"- {name}, {depth} layers: {share(ours)}, against {depth - 1}: {share(fewer)}; "
                f"{gain:+.2f} points in the mean, {judged(ours, fewer)}."
            )
        word = {2: "second", 3: "third"}[depth]
        answer = conclude(
            verdicts.values(),
            all_above=f"A {word} layer raised the accuracy with every activation, in every seed.",
            some=f"A {word} layer made a difference with some activations, not with all.",
            none=f"These numbers do not show that a {word} layer is needed: all ranges overlap.",
        )
        answers.append(f"{answer} {depth} layers against {depth - 1}: {grouped(verdicts)}.")
    return [" ".join(answers), *lines]


def first_to_last(runs: Runs, kind: Kind, epoch: int) -> np.ndarray:
    """Divide the first layer's gradient norm by the last layer's, [M]."""
    norms = runs[kind].gradient_norm[:, epoch]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(norms[:, 0] / norms[:, -1])


def answer_depth(runs: Runs, setup: Setup) -> list[str]:
    """Answer what goes wrong as layers are added."""
    deepest = max(kind.depth for kind in runs)
    names = activations_of(runs, deepest) if deepest > 3 else []
    if not names:
        return ["No network of more than 3 layers was trained, so these runs cannot answer."]
    answers, lines = [], []
    for name in names:
        depths = sorted(kind.depth for kind in runs if kind.activation == name)
        start = first_to_last(runs, Kind(name, deepest), 0)
        answers.append(
            f"{name}, {deepest} layers: {_flow(start)}; {_depth_accuracy(runs, setup, name, depths)}."
        )
        for depth in depths:
            kind = Kind(name, depth)
            end = first_to_last(runs, kind, -1)
            lines.append(
                f"- {kind}: first layer's gradient norm is {spread(first_to_last(runs, kind, 0), short)} times the "
                f"last's at the start and {spread(end, short)} times after epoch {setup.plan.epochs}; test accuracy "
                f"{share(accuracy_of(runs, name, depth))}."
            )
    return [" ".join(answers), *lines]


def _flow(ratio: np.ndarray) -> str:
    """Say what the gradient does on its way back, by the ratio of the first layer's norm to the last's."""
    if not np.isfinite(ratio).all():
        return "the gradient is not finite at the start"
    within = np.sum((ratio >= VANISHED) & (ratio <= EXPLODED))
    what = f"stays within a factor of 10 in {within} of {len(ratio)} seeds"
    if (ratio < VANISHED).all():
        what = "vanishes towards the inputs"
    elif (ratio > EXPLODED).all():
        what = "explodes towards the inputs"
    return (
        f"the gradient {what}: at the start the first layer's norm is {spread(ratio, short)} times the last's"
    )


def _depth_accuracy(runs: Runs, setup: Setup, name: str, depths: Sequence[int]) -> str:
    """Compare the deepest network's accuracy with the best of the shallower ones."""
    deepest = accuracy_of(runs, name, depths[-1])
    best = max(depths[:-1], key=lambda depth: float(np.mean(accuracy_of(runs, name, depth))))
    against = accuracy_of(runs, name, best)
    text = f"its accuracy, {share(deepest)}, against {share(against)} with {best} layers, is "
    text += judged(deepest, against)
    if np.isfinite(deepest).all() and (deepest <= setup.commonest + 0.01).all():
        text += f", and no better than always naming the commonest class ({percent(setup.commonest)})"
    return text


def answer_weights(runs: Runs) -> list[str]:
    """Answer how max |W| moves by epoch."""
    grew = fell = early = layers = largest_last = 0
    lines = []
    for kind, measured in runs.items():
        weights = measured.max_weight
        if not np.isfinite(weights).all():
            lines.append(f"- {kind}: not finite in every seed.")
            continue
        start, middle, end = weights[:, 0], weights[:, weights.shape[1] // 2], weights[:, -1]
        up = (end > start).all(axis=0)
        layers += kind.depth
        grew += int(up.sum())
        fell += int((end < start).all(axis=0).sum())
        early += int((up & (np.mean(middle - start, 0) > np.mean(end - middle, 0))).sum())
        largest_last += int(kind.depth > 1 and bool((np.argmax(end, axis=1) == kind.depth - 1).all()))
        moves = [
            f"{short(np.mean(start[:, i]))} → {spread(end[:, i], short, np.mean)}" for i in range(kind.depth)
        ]
        lines.append(f"- {kind}: {'; '.join(moves)}.")
    if not layers:
        return ["No run stayed finite, so these runs cannot answer.", *lines]
    several = sum(kind.depth > 1 and bool(np.isfinite(runs[kind].max_weight).all()) for kind in runs)
    seeds = "in every seed" if len(next(iter(runs.values())).accuracy) > 1 else "in the one seed"
    answer = (
        f"From the start to the last epoch it grew {seeds} in {grew} of {layers} layers, and fell {seeds} in {fell}. "
        f"Of the {grew} that grew, {early} grew more in the first half of the epochs than in the second. "
        f"The last layer held the largest weight at the end, {seeds}, in {largest_last} of the {several} networks of "
        f"several layers."
    )
    return [
        answer,
        "Mean at the start → mean at the end (least to largest), layer by layer from the inputs:",
        *lines,
    ]


QUESTIONS = {
    "activation": "1. Does the activation between layers matter?",
    "layers": "2. Are 2 or 3 layers needed?",
    "depth": "3. What goes wrong as layers are added?",
    "weights": "4. How does max |W| move by epoch?",
}


def write_report(folder: Path, setup: Setup, runs: Runs, pictures: Mapping[str, Sequence[str]]) -> str:
    """Write report.md: how it was made, all results, and the four answers with the files of their pictures."""
    answers = {
        "activation": answer_activation(runs),
        "layers": answer_layers(runs),
        "depth": answer_depth(runs, setup),
        "weights": answer_weights(runs),
    }
    parts = [f"# The lab on {setup.dataset}", _method(setup), _results(runs)]
    for name, title in QUESTIONS.items():
        first, *details = answers[name]
        images = [f"![{Path(file).stem.replace('-', ' ')}]({file})" for file in pictures[name]]
        parts += [f"## {title}", f"**{first}**", "\n".join(details), *images]
    write_text(folder / "report.md", "\n\n".join(part for part in parts if part) + "\n")
    return "\n\n".join(f"{title}\n{answers[name][0]}" for name, title in QUESTIONS.items())


def _method(setup: Setup) -> str:
    plan = setup.plan
    seeds = "One seed a kind: without a spread nothing can be told from chance, and nothing is judged."
    if plan.seeds > 1:
        seeds = (
            f"{plan.seeds} seeds a kind, side by side in one compiled program. A difference counts only where the "
            f"ranges over the seeds do not overlap; two kinds that do not differ are apart like that in "
            f"{100 * chance(plan.seeds):.2g} % of comparisons."
        )
    init = plan.init or "he_normal for rectifiers, glorot_normal for the others"
    return (
        f"{setup.train_examples:,} examples to train on, {setup.test_examples:,} to test on; {plan.hidden} units in "
        f"each hidden layer, softmax and cross-entropy, plain SGD with η = {plan.learning_rate:g} and batches of "
        f"{plan.batch_size}, {plan.epochs} epochs, init {init}. {seeds} All kinds have the same η and number of "
        f"epochs; others might order them otherwise. Gradient norms are of the mean cross-entropy over "
        f"{min(PROBED, setup.train_examples):,} training examples; the layers differ in size and in their inputs, so "
        f"that only powers of ten between their norms tell something.\n\n{setup.machine}."
    )


def _results(runs: Runs) -> str:
    rows = [["network", "test accuracy (least to largest)", "training accuracy", "seconds a network"]]
    for kind, measured in runs.items():
        seconds = f"{measured.seconds / len(measured.accuracy):.2g}"
        rows.append([str(kind), share(measured.accuracy), share(measured.train_accuracy[:, -1]), seconds])
    return markdown(rows)
