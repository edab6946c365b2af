"""AI for Beginners (Microsoft), lesson 3.4, "build your own framework": its networks, its losses, its discussion."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import lesson_studies as studies
import numpy as np
from lesson_pictures import PICTURES, draw_lesson_pictures
from lesson_program import check_counts, open_run, write_json
from lesson_runs import (
    BATCH_SIZE,
    LOSS,
    RUNS,
    SIZES,
    Lesson,
    Progress,
    draw_lesson,
    lesson_network,
    train_run,
)
from lesson_studies import Curve, Fits, Separation, fit_curves, separate, vary_examples, vary_hidden_size
from side_by_side import spread

from jaxmlp import LOSSES, Dense, DenseParams, Network, Softmax, value_and_grad
from jaxmlp import loss as mean_loss
from jaxmlp.cli.options import CompilationCacheOptions
from jaxmlp.cli.parser import option, parse_options
from jaxmlp.cli.session import compilation_cache, run
from jaxmlp.cli.text import aligned

DESCRIPTION = """Run the lesson "build your own framework" (AI for Beginners 3.4) with hand-written gradients.

On the lesson's data, from the lesson's own starting weights: layers put together one by one, losses and
accuracies before and after each of its runs. Then a regression with outliers, classes that no line separates,
and under- and over-fitting, over several seeds. Pictures and numbers go into a run folder."""

_option = partial(option, group="settings")


@dataclass(frozen=True)
class LessonOptions(CompilationCacheOptions):
    """The options of the lesson."""

    out: str | None = _option(
        None,
        "the folder for pictures and numbers (default: runs/build-your-own-framework-TIME)",
        metavar="FOLDER",
    )
    seeds: int = _option(8, "draws of weights and data behind each spread, from the regression on")
    steps: int = _option(500, "updates of each network, from the regression on")
    pictures: bool = _option(True, "whether to draw pictures")


def largest_difference(ours: Any, theirs: Any) -> float:
    """Measure the largest |a − b| of all tensors; NaN where any number is."""
    apart = jax.tree.map(lambda a, b: np.max(np.abs(np.asarray(a) - np.asarray(b))), ours, theirs)
    return float(np.max(jax.tree.leaves(apart)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lesson; returns the exit status."""
    options, _ = parse_options(LessonOptions, DESCRIPTION, arguments)
    check_counts({"--seeds": options.seeds, "--steps": options.steps})
    folder, lesson = open_run(options, "build-your-own-framework"), draw_lesson()
    with compilation_cache(options.compilation_cache):
        results: dict[str, Any] = {"first network": show_first_network(lesson), "layers": show_layers(lesson)}
        progress = show_runs(lesson)
        fits = show_outliers(options)
        found = show_separation(options)
        curves = show_capacity(options)
        if options.pictures:
            draw_lesson_pictures(folder, lesson, progress, fits, found, curves)
            heading("Pictures")
            print("\n".join(f"{name:<32}{shows}" for name, shows in PICTURES.items()))
    results["runs"] = {title: each.columns for title, each in progress.items()}
    results["regression"] = {
        f"{title}, {'with' if dirty else 'without'} outliers": errors
        for (title, dirty), errors in fits.errors.items()
    }
    results["separation"] = {each.shape: each.accuracy for each in found}
    results["capacity"] = {varied: curve._asdict() for varied, curve in curves.items()}
    write_json(folder / "results.json", results)
    print(f"\nrun folder {folder}")
    return 0


def heading(text: str) -> None:
    """Print a section's heading."""
    print(f"\n{text}\n{'-' * len(text)}")


def show_first_network(lesson: Lesson) -> float:
    """Print the data's size and the first network's cross-entropy before any training."""
    heading("The data, and a network that has learnt nothing")
    ones = [int(np.sum(np.asarray(part.targets))) for part in (lesson.train, lesson.test)]
    print(f"training: 80 points of 2 features, {80 - ones[0]} of class 0 and {ones[0]} of class 1")
    print(f"test:     20 points, {20 - ones[1]} of class 0 and {ones[1]} of class 1")
    print("in both, a fifth of the labels was drawn at random, so no boundary can be right everywhere")
    ten = (lesson.train.inputs[:10], lesson.train.targets[:10])
    value = float(mean_loss(lesson_network(SIZES[0]), lesson.starts[0], *ten, loss=LOSS))
    print(f"cross-entropy of a fresh 2-2 network on the first 10 training points: {value:.6f}")
    print(f"(a network that says ½ to both classes has ln 2 = {np.log(2):.6f})")
    return value


def show_layers(lesson: Lesson) -> dict[str, float]:
    """Print a network put together from layers, and that the fused route gives the same numbers."""
    heading("Layers put together one by one, and fused")
    net, fused = lesson_network(SIZES[-1]), lesson_network(SIZES[-1], softmax=False)
    params, data = lesson.starts[-1], lesson.train[:2]
    print(f"{net}\n")
    apart, apart_grads = value_and_grad(net, params, *data, loss=LOSS)
    joined, joined_grads = value_and_grad(fused, params[:-1], *data, loss="softmax_cross_entropy")
    zeros, long_run = jax.tree.map(jnp.zeros_like, joined_grads), RUNS[-1]
    apart_end = train_run(net, params, lesson, long_run).params[-1][:-1]
    joined_end = train_run(fused, params[:-1], lesson, long_run, loss="softmax_cross_entropy").params[-1]
    numbers = {
        "loss, softmax layer + negative log-likelihood": float(apart),
        "loss, softmax cross-entropy on logits": float(joined),
        "largest difference of a gradient entry": largest_difference(apart_grads[:-1], joined_grads),
        "largest gradient entry": largest_difference(joined_grads, zeros),
        f"largest difference of a weight after {long_run.epochs} epochs": largest_difference(
            apart_end, joined_end
        ),
    }
    print(
        aligned([(name, f"{each:.6f}" if each > 1e-4 else f"{each:.1e}") for name, each in numbers.items()])
    )
    print("float32 carries about 7 digits: both routes compute the same, by different formulas")
    return numbers


def show_runs(lesson: Lesson) -> dict[str, Progress]:
    """Train the lesson's networks and print loss and accuracy before and after."""
    heading("The lesson's runs: before → after")
    print(
        f"minibatches of {BATCH_SIZE} in the given order, plain gradient descent; the gradient is that of the mean\n"
        f"over the minibatch, as in the lesson, whose cross-entropy layer passes back −1/(B·p)\n"
    )
    rows = [["run", "η", "epochs", "train loss", "accuracy", "test loss", "accuracy"]]
    progress = {}
    for each in RUNS:
        net, start = lesson_network(SIZES[each.number]), lesson.starts[each.number]
        progress[each.title] = train_run(net, start, lesson, each)
        row, columns = [each.title, f"{each.learning_rate:g}", str(each.epochs)], progress[each.title].columns
        for part in ("train", "valid"):
            loss, accuracy = columns[f"{part}_loss"], 100 * columns[f"{part}_accuracy"]
            row.append(f"{loss[0]:.4f} → {loss[-1]:.4f}")
            row.append(f"{accuracy[0]:.2f} % → {accuracy[-1]:.2f} %")
        rows.append(row)
    print(aligned(rows))
    by_hand = train_by_hand(lesson, RUNS[0].learning_rate)
    apart = largest_difference(by_hand, progress[RUNS[0].title].params[-1][0])
    print(f"\nthe first of them with each layer called by hand: same weights within {apart:.1e}")
    return progress


def train_by_hand(lesson: Lesson, learning_rate: float) -> DenseParams:
    """Train the second network for an epoch by calling its layers one after another, without a network."""
    dense, softmax, loss = Dense(2), Softmax(), LOSSES[LOSS]
    params = lesson.starts[1][0]
    for start in range(0, len(lesson.train.inputs), BATCH_SIZE):
        inputs = lesson.train.inputs[start : start + BATCH_SIZE]
        labels = lesson.train.targets[start : start + BATCH_SIZE]
        logits, kept_by_dense = dense.forward(params, inputs)
        chances, kept_by_softmax = softmax.forward((), logits)
        chances_grad = loss.gradient(chances, labels) / len(labels)  # of the mean over the minibatch
        _, logits_grad = softmax.backward((), kept_by_softmax, chances_grad)
        grads, _ = dense.backward(params, kept_by_dense, logits_grad)
        params = DenseParams(params.w - learning_rate * grads.w, params.b - learning_rate * grads.b)
    return params


def show_outliers(options: LessonOptions) -> Fits:
    """Fit a curve with two losses, and print how far each comes to lie from the curve without noise."""
    heading("Regression: absolute against squared error")
    fits = fit_curves(options.seeds, options.steps)
    print(
        f"a 1-32-1 tanh network through {studies.EXAMPLES} points of sin x with noise {studies.NOISE:g}; then "
        f"{100 * studies.SHARE:g} % of\nthem are moved up by 2 to 4. Root mean square distance from sin x,\n"
        f"{spread_legend(options)}:\n"
    )
    rows = [["fitted with", "without outliers", "with outliers"]]
    errors = fits.errors
    rows += [
        [title, digits(errors[title, False]), digits(errors[title, True])] for title in studies.FITTED_WITH
    ]
    print(aligned(rows))
    print(
        "\nThe squared error's gradient grows with the error, so a few far points pull the curve to them;\n"
        "the absolute error's is ±1 at any distance, so a point counts only by its side."
    )
    return fits


def show_separation(options: LessonOptions) -> list[Separation]:
    """Print how one layer and two do on classes that no line separates."""
    heading("Classes that no line separates: one layer against two")
    found = [separate(shape, options.seeds, options.steps) for shape in studies.SHAPES]
    print(f"test accuracy in %, {spread_legend(options)}:\n")
    rows = [["data set", *(f"{title} {sizes_of(net)}" for title, net in studies.NETWORKS.items())]]
    one_digit = partial(spread, write="{:.1f}".format)
    rows += [[each.shape, *(one_digit(100 * values) for values in each.accuracy.values())] for each in found]
    print(aligned(rows))
    return found


def sizes_of(net: Network) -> str:
    """Write a network's sizes, as "2-32-2"."""
    dense = [layer.features for layer in net.layers if isinstance(layer, Dense)]
    return "-".join(map(str, [net.in_features, *dense]))


def show_capacity(options: LessonOptions) -> dict[str, Curve]:
    """Print how the losses change with the number of hidden units and with the number of examples."""
    heading("Under- and over-fitting")
    print(f"circles that overlap; cross-entropy, {spread_legend(options)}:\n")
    by_size = vary_hidden_size(options.seeds, options.steps)
    show_curve(f"hidden units ({studies.FIXED_EXAMPLES} examples)", by_size)
    medians, sizes = np.median(by_size.valid, axis=0), by_size.varied
    print(
        f"\nthe validation loss is least with {sizes[np.argmin(medians)]} hidden units, {medians.min():.3f}; it is "
        f"{medians[0]:.3f} with {sizes[0]}, which can be\ntoo few to follow the circles, and {medians[-1]:.3f} with "
        f"{sizes[-1]}, enough to follow the noise as well\n"
    )
    by_count = vary_examples(options.seeds, options.steps)
    show_curve(f"examples ({studies.FIXED_HIDDEN} hidden units)", by_count)
    gaps = np.median(by_count.valid - by_count.train, axis=0)
    print(
        f"\nfrom {by_count.varied[0]} to {by_count.varied[-1]} examples the gap between validation and training"
        f" goes from {gaps[0]:.3f} to {gaps[-1]:.3f}"
    )
    return {"hidden size": by_size, "examples": by_count}


def show_curve(title: str, curve: Curve) -> None:
    """Print a row for each value that was varied."""
    rows = [(title, "training", "validation")]
    for place, varied in enumerate(curve.varied):
        rows.append((str(varied), digits(curve.train[:, place]), digits(curve.valid[:, place])))
    print(aligned(rows))


def digits(values: Any) -> str:
    return spread(values, "{:.3f}".format)


def spread_legend(options: LessonOptions) -> str:
    """Say how a spread is to be read."""
    return f"median (least to largest) of {options.seeds} seeds"


if __name__ == "__main__":
    run(main)
