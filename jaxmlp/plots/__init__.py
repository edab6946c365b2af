"""Figures from arrays and histories.

Every function takes arrays and returns a `matplotlib.figure.Figure` that belongs to no window and to no
global state; `save` writes it. Matplotlib is imported in this folder only, when a function is called.
Arrays that do not fit each other raise what NumPy and Matplotlib raise.
"""

from jaxmlp.plots.boundaries import (
    accuracy_and_boundary,
    boundary_grid,
    decision_boundary,
    scatter_classes,
    side_by_side_boundaries,
)
from jaxmlp.plots.comparisons import run_curves
from jaxmlp.plots.curves import band_curves, loss_curves, two_class_curves
from jaxmlp.plots.files import animate, save
from jaxmlp.plots.graph import computational_graph
from jaxmlp.plots.histories import gradient_curves, gradient_flow, learning_curves
from jaxmlp.plots.images import confident_mistakes, first_layer_weights
from jaxmlp.plots.regression import predicted_against_true, regression_curve, residuals
from jaxmlp.plots.sweeps import sweep_scores
from jaxmlp.plots.tables import confusion_matrix, importances, label_scores, table_heatmap
from jaxmlp.plots.timings import growth_sheet, time_bars

__all__ = [
    "accuracy_and_boundary",
    "animate",
    "band_curves",
    "boundary_grid",
    "computational_graph",
    "confident_mistakes",
    "confusion_matrix",
    "decision_boundary",
    "first_layer_weights",
    "gradient_curves",
    "gradient_flow",
    "growth_sheet",
    "importances",
    "label_scores",
    "learning_curves",
    "loss_curves",
    "predicted_against_true",
    "regression_curve",
    "residuals",
    "run_curves",
    "save",
    "scatter_classes",
    "side_by_side_boundaries",
    "sweep_scores",
    "table_heatmap",
    "time_bars",
    "two_class_curves",
]
