"""Public tables: the measurement on generated files of their names, and what is refused."""

import json

import numpy as np
import pytest
from command_runs import run_experiment
from tables import MODELS, parts


def files(folder):
    random = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{'uvw'[number % 3]},{a * 3 + number % 3:.3f}"
        for number, a in enumerate(random.normal(size=90))
    ]
    (folder / "mpg.csv").write_text("\n".join(["a,b,mpg", *rows]) + "\n")
    rows = [f"{row.split(',')[0]},{'pq'[float(row.split(',')[0]) > 0]}" for row in rows]
    (folder / "sonar.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.slow
def test_every_model_is_measured_on_every_split(tmp_path):
    files(tmp_path)
    out = tmp_path / "tables.json"
    outcome = run_experiment("tables", "--tables", tmp_path, "--splits", 2, "--epochs", 2, "--out", out)
    assert outcome.status == 0, outcome.err
    result = json.loads(out.read_text())
    assert [*result["tables"]] == ["mpg", "sonar"]
    for by_model in result["tables"].values():
        assert {"jaxmlp tables", "jaxmlp plain", "sklearn MLP", "HGB", "HGB 500"} <= {*by_model} <= {*MODELS}
        assert all(
            len(runs) == 2 and all(0 <= run["error"] < 9 for run in runs) for runs in by_model.values()
        )
    assert "of 2" in outcome.out


def test_ratios_are_of_mean_errors_and_kin8nm_is_told_apart():
    def runs(*errors):
        return [{"error": error, "fit": 1.0, "predict": 0.1} for error in errors]

    tables = {
        "kin8nm": {"ours": runs(1.0, 3.0), "theirs": runs(8.0)},
        "wine": {"ours": runs(1.0), "theirs": runs(1.0)},
    }
    _, errors, ratios, times = parts({"tables": tables})
    assert errors[1] == ["kin8nm", "2 ± 1", "8 ± 0"]
    assert ratios[1] == ["theirs", "0.500", "1.000", "1 of 2"]
    assert times[1] == ["kin8nm", "1.000 s (0.100 s)", "1.000 s (0.100 s)"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tables", "nowhere"), "holds none of the tables"),
        (("--only", "wines"), "did you mean 'wine'"),
        (("--models", "sklearn MPL"), "did you mean 'sklearn MLP'"),
        (("--splits", "0"), "--splits must be at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, said):
    outcome = run_experiment("tables", *arguments)
    assert outcome.status == 2
    assert said in outcome.error_line
