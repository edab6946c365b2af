"""The lesson's pictures, drawn by `jaxmlp.plots` from what was computed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from lesson_runs import RUNS, SIZES, Lesson, Progress, Run, class_1_probability, lesson_network
from lesson_studies import FIXED_EXAMPLES, FIXED_HIDDEN, OVERLAPPING, Curve, Fits, Separation

from jaxmlp import LOSSES, METRICS, plots

PICTURES = {
    "data.png": "the lesson's points",
    "losses-regression.png": "absolute and squared error",
    "losses-classification.png": "0-1 loss (the lesson draws it upside down for class 1), logistic loss, cross-entropy",
    "run-1.png … run-4.png": "accuracy by epoch beside the decision boundary, one for each row of the table",
    "run-3.gif, run-4.gif": "the same, animated over the epochs",
    "outliers.png": "a curve fitted with absolute and with squared error",
    "separation.png": "one layer above, two layers below",
    "hidden-size.png, examples.png": "under- and over-fitting",
}
CLASS_NAMES = ("class 0", "class 1")
FRAMES_PER_SECOND = 6


def draw_lesson_pictures(
    folder: Path,
    lesson: Lesson,
    progress: Mapping[str, Progress],
    fits: Fits,
    found: Sequence[Separation],
    curves: Mapping[str, Curve],
) -> None:
    """Draw all PICTURES into the run folder."""
    draw_data(folder, lesson)
    draw_losses(folder)
    for number, run in enumerate(RUNS, start=1):
        draw_run(folder, f"run-{number}", run, progress[run.title], lesson)
    draw_outliers(folder, fits)
    # One layer in the upper row, two in the lower.
    panels = [panel for row in zip(*(each.panels for each in found), strict=True) for panel in row]
    plots.save(plots.side_by_side_boundaries(panels, CLASS_NAMES), folder / "separation.png")
    draw_capacity(folder, curves)


def draw_data(folder: Path, lesson: Lesson) -> None:
    """Draw the lesson's hundred points."""
    inputs, labels = (np.concatenate(parts) for parts in zip(lesson.train[:2], lesson.test[:2], strict=True))
    plots.save(plots.scatter_classes(inputs, labels, CLASS_NAMES), folder / "data.png")


def draw_losses(folder: Path) -> None:
    """Draw the losses of a regression over the error, and those of a classification over the probability.

    The lesson draws its 0-1 loss "for class 1" as 0 below p = ½ and 1 above, which is the loss for class 0.
    """
    error = np.linspace(-2, 2, 201)
    outputs, zeros = jnp.asarray(error[:, None]), jnp.zeros((201, 1))
    panels: list[tuple[str, Any, Any]] = [
        (title, error, {title: LOSSES[name].value(outputs, zeros)})
        for title, name in (("|f − y|", "absolute_error"), ("(f − y)²", "squared_error"))
    ]
    plots.save(plots.loss_curves(panels, x_label="f − y"), folder / "losses-regression.png")
    chance = np.linspace(0.005, 0.995, 199)  # at 0 and 1 a logarithm would leave the picture
    both = jnp.asarray(np.stack([1 - chance, chance], axis=1))
    zero, one = jnp.zeros(199, int), jnp.ones(199, int)
    log_loss = LOSSES["negative_log_likelihood"].value
    panels = [
        ("0-1 loss, y = 1", chance, {"0-1": METRICS["zero_one_loss"].statistic(both, one)}),
        ("logistic loss, y = 1", chance, {"−ln p": log_loss(both, one)}),
        ("cross-entropy", chance, {"y = 0": log_loss(both, zero), "y = 1": log_loss(both, one)}),
    ]
    figure = plots.loss_curves(panels, x_label="p, the probability of class 1")
    plots.save(figure, folder / "losses-classification.png")


def draw_run(folder: Path, name: str, run: Run, progress: Progress, lesson: Lesson) -> None:
    """Draw a run's accuracy beside its decision boundary, and animate it if it has more than one epoch."""
    plots.save(next(_frames([run.epochs], run, progress, lesson, steps=200)), folder / f"{name}.png")
    if run.epochs > 1:
        # The end is held for a second before the animation begins again.
        epochs = [*range(run.epochs + 1), *[run.epochs] * FRAMES_PER_SECOND]
        frames = _frames(epochs, run, progress, lesson, steps=120)
        plots.animate(frames, folder / f"{name}.gif", fps=FRAMES_PER_SECOND, dpi=80)


def _frames(
    epochs: Sequence[int], run: Run, progress: Progress, lesson: Lesson, *, steps: int
) -> Iterator[Any]:
    net = lesson_network(SIZES[run.number])
    grid_x, grid_y, points = plots.boundary_grid(lesson.train.inputs, steps=steps)
    for epoch in epochs:
        columns = {name: column[: epoch + 1] for name, column in progress.columns.items()}
        chances = class_1_probability(net, progress.params[epoch], points).reshape(steps, steps)
        panel = (grid_x, grid_y, chances, lesson.train.inputs, lesson.train.targets)
        yield plots.accuracy_and_boundary(
            columns, panel, CLASS_NAMES, valid_label="test", last_epoch=run.epochs
        )


def draw_outliers(folder: Path, fits: Fits) -> None:
    """Draw the first seed's points, sin x and the two curves fitted through the points."""
    curves = {title: fitted[0] for title, fitted in fits.fitted.items()} | {"sin x": np.sin(fits.grid)}
    points = (fits.points.inputs[0, :, 0], fits.points.targets[0, :, 0])
    plots.save(plots.regression_curve(*points, curves, fits.grid, fits.outliers[0]), folder / "outliers.png")


def draw_capacity(folder: Path, curves: Mapping[str, Curve]) -> None:
    """Draw the losses against the number of hidden units and against the number of examples."""
    for varied, x_label in (
        ("hidden size", f"hidden units ({OVERLAPPING}, {FIXED_EXAMPLES} training examples)"),
        ("examples", f"training examples ({OVERLAPPING}, {FIXED_HIDDEN} hidden units)"),
    ):
        losses = {"training": curves[varied].train, "validation": curves[varied].valid}
        axes = {"x_label": x_label, "y_label": "cross-entropy"}
        figure = plots.band_curves(curves[varied].varied, losses, **axes, log_x=True, log_y=True)
        plots.save(figure, folder / f"{varied.replace(' ', '-')}.png")
