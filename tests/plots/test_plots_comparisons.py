"""The curves of several runs show each run's numbers, and which run they are of."""

from typing import Any

import numpy as np
import pytest

from jaxmlp import plots


def history(*losses: float, score: str = "accuracy", **columns: Any) -> dict[str, Any]:
    """A history of those training losses, its other columns following from them."""
    train = np.array(losses)
    return {
        "epoch": np.arange(1, len(train) + 1),
        "train_loss": train,
        "valid_loss": 2 * train,
        f"train_{score}": np.linspace(0.5, 0.75, len(train)),
        f"valid_{score}": np.linspace(0.25, 0.5, len(train)),
        **columns,
    }


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_panels_hold_each_runs_columns_and_are_named() -> None:
    figure = plots.run_curves({"digits": {"one": history(3, 2, 1), "two": history(5, 4)}}, valid_label="test")
    labels = ["training loss", "test loss", "training accuracy (%)", "test accuracy (%)"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    drawn = [[line.get_ydata().tolist() for line in axes.lines] for axes in figure.axes]
    assert drawn == [
        [[3, 2, 1], [5, 4]],
        [[6, 4, 2], [10, 8]],
        [[50, 62.5, 75], [50, 75]],
        [[25, 37.5, 50], [25, 50]],
    ]
    assert [line.get_xdata().tolist() for line in figure.axes[0].lines] == [[1, 2, 3], [1, 2]]
    assert legend(figure) == ["one", "two"]
    assert figure.axes[0].get_title(loc="left") == ""  # a single group needs no name


@pytest.mark.parametrize("count", [2, 8, 10, 28, 40])
def test_every_run_has_a_look_of_its_own_in_all_panels(count: int) -> None:
    figure = plots.run_curves({"digits": {str(number): history(2, 1) for number in range(count)}})
    looks = [[(line.get_color(), line.get_linestyle()) for line in axes.lines] for axes in figure.axes]
    assert len(set(looks[0])) == count
    handles = figure.legends[0].legend_handles
    assert looks == [[(entry.get_color(), entry.get_linestyle()) for entry in handles]] * 4


def test_a_run_that_diverged_has_a_cross_where_it_was_last_finite() -> None:
    diverged = history(3, 4, np.nan, valid_loss=[1.0, np.inf, np.nan])
    figure = plots.run_curves({"digits": {"sound": history(3, 2, 1), "lost": diverged}})
    loss, valid = figure.axes[:2]
    for axes, place in ((loss, (2, 4)), (valid, (1, 1))):
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert [(line.get_xdata().tolist(), line.get_ydata().tolist()) for line in crosses] == [
            ([place[0]], [place[1]])
        ]
        assert crosses[0].get_color() == axes.lines[1].get_color()
    assert legend(figure) == ["sound", "lost ×"]
    assert figure.legends[0].get_title().get_text() == "× diverged"


def test_a_loss_on_its_way_to_infinity_does_not_press_the_others_together() -> None:
    runs = {
        "sound": history(2, 1, 0.5),
        "lost": history(3, 1e25, np.nan, score="r2", train_r2=[0, -1e9, np.nan]),
    }
    figure = plots.run_curves({"sine": {**runs, "sound": history(2, 1, 0.5, score="r2")}})
    train, valid, score, _ = figure.axes
    assert train.get_ylim() == valid.get_ylim()
    assert train.get_ylim()[1] == 40.0  # ten times 4, the largest loss of the run that did not diverge
    for axes, edge in ((train, 40.0), (score, -1.0)):
        (cross,) = [line for line in axes.lines if line.get_marker() == "x"]
        assert cross.get_ydata().tolist() == [edge]
    alone = plots.run_curves({"sine": {"lost": runs["lost"]}})
    assert alone.axes[0].get_ylim()[1] > 1e25


def test_runs_that_never_were_finite_leave_a_word() -> None:
    figure = plots.run_curves({"digits": {"lost": {"epoch": [1], "train_loss": [np.nan]}}})
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["no finite value"]] * 2
    assert legend(figure) == ["lost ×"]


@pytest.mark.parametrize(
    ("losses", "scale"), [((2.0, 0.1), "linear"), ((2.0, 0.01), "log"), ((2.0, 0.1, 0.0), "linear")]
)
def test_losses_that_span_much_have_a_log_axis_in_both_panels(losses: tuple[float, ...], scale: str) -> None:
    # The other run is the same all along; it is what is drawn together that decides.
    runs = {"one": history(*losses), "two": history(2.0, 2.0, valid_loss=[2.0, 2.0])}
    figure = plots.run_curves({"digits": runs})
    assert [axes.get_yscale() for axes in figure.axes[:2]] == [scale] * 2
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    beside_0 = plots.run_curves(
        {"digits": {"one": history(*losses, valid_loss=[1.0, *[0.0] * (len(losses) - 1)])}}
    )
    assert [axes.get_yscale() for axes in beside_0.axes[:2]] == ["linear"] * 2


@pytest.mark.parametrize(("least", "bottom"), [(-0.5, False), (-1e6, True)])
def test_an_r2_far_below_0_does_not_press_the_others_together(least: float, bottom: bool) -> None:
    figure = plots.run_curves({"sine": {"one": history(2, 1, score="r2", train_r2=[least, 0.9])}})
    train, valid = figure.axes[2:]
    assert (train.get_ylim() == (-1, 1)) == bottom
    assert train.get_ylim() == valid.get_ylim()
    assert train.get_ylabel() == "training R²" + bottom * " (cut off below −1)"


def test_groups_stand_apart_under_their_titles() -> None:
    groups = {
        "digits, accuracy": {"one": history(2, 1)},
        "sine, R²": {"two": history(3, 2, 1, score="r2"), "three": history(1, 0.5, score="r2")},
    }
    figure = plots.run_curves(groups, loss_labels={"sine, R²": "loss of several kinds"})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["digits, accuracy", "", "", "", "sine, R²", "", "", ""]
    assert [len(axes.lines) for axes in figure.axes] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert [ax.get_ylabel() for ax in figure.axes[::4]] == ["training loss", "training loss of several kinds"]
    assert legend(figure) == ["one", "two", "three"]
    first_lines = [axes.lines[0].get_color() for axes in figure.axes[::4]]
    assert len(set(first_lines)) == 2  # a run's colour is its own in the whole figure


def test_a_single_epoch_is_visible_and_an_unmeasured_part_is_told() -> None:
    figure = plots.run_curves(
        {"digits": {"one": {"epoch": [1], "train_loss": [2.0], "valid_loss": [np.nan]}}}
    )
    train, valid = figure.axes
    assert train.lines[0].get_marker() == "o"
    assert [text.get_text() for text in valid.texts] == ["no finite value"]
