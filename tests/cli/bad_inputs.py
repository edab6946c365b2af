"""Every bad input that the programs refuse, and what the one line must say."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from command_runs import BRIEF, train_ok, write_pets

from jaxmlp import init, mlp, save_model


class BadInput(NamedTuple):
    """A command line that is refused."""

    script: str
    arguments: list[str]
    said: list[str]  # what its line must say: the thing given, and what is allowed or what to do


# A command, and what its line must say between bars; a line that begins with a bar belongs to the one above.
# {a,b} stands for a command with a and one with b; {} in what is said is the one that was taken.
CASES = r"""
# Unknown names, each with the nearest right one.
train --dataset digit | unknown data set 'digit': did you mean 'digits'? | moons
{train --activation ,sweep --grid activation=}rlu | unknown activation 'rlu': did you mean 'relu'?
train --init he_norml | unknown initialiser 'he_norml': did you mean 'he_normal'?
train --bias-init zero | unknown initialiser 'zero': did you mean 'zeros'?
train --bias-init he_normal | 'he_normal' | choose one of normal
train --loss softmax | unknown loss 'softmax': did you mean 'softmax_cross_entropy'?
train --optimizer sdg | unknown optimiser 'sdg': did you mean 'sgd'?
train --schedule cosin | unknown schedule 'cosin': did you mean 'cosine'?
train --device {gup,cpu:99} | device '{}' is not there: this machine has | or auto
train --precision float46 | unknown precision 'float46': did you mean 'float64'?
train --dataset pets.csv --target pet --task regresion | unknown task 'regresion': did you mean 'regression'?
train --scaling standardize | 'standardize': did you mean 'standardise'?
train --dataset pets.csv --target pet --missing imput | 'imput': did you mean 'impute'? | refuse
train --metric acuracy | unknown metric 'acuracy': did you mean 'accuracy'?
train --dataset pets.csv --target pte | 'pte': did you mean 'pet'?
train --activaton relu | unrecognized arguments: --activaton relu (did you mean --activation?); see | --help
train --lr 0.1 | did you mean --learning-rate?
sweep learning_rate=0.1 | write --grid or --random before what is to be tried
train --activation relu:2 | takes no parameter | write 'relu'
# Numbers out of range.
train --batch-size {0,-3} | --batch-size must be at least 1, given {}
train --batch-size 1.5 | '1.5' is neither a whole number nor full
train --learning-rate {nan,inf,0,-1} | the learning rate must be a finite number above 0, given {}
train --learning-rate fast | --learning-rate: invalid float value: 'fast'
train --hidden {0,-2} | --hidden takes sizes of at least 1, given {}
train --hidden x | --hidden: 'x' is no list of sizes: write 64x32, or none
train --hidden 99999999999999 | 99999999999999 | choose smaller sizes
train {--epochs,--keep} 0 | {} must be at least 1, given 0
train --epochs 1.5 | --epochs: invalid int value: '1.5'
train --l2 {-0.1,nan} | --l2 must be at least 0, given {}
train --l2 {1e+300,inf} | --l2 must be at most 3.4e+38, given {}
train --init-scale 0 | --init-scale must be a number above 0, given 0
train --target-accuracy 98 | given 98: write 0.98 for 98 %
train --dataset sine --target-accuracy 0.9 | a regression has no accuracy: leave it out
{train,gradcheck} --seed -1 | --seed must be a whole number from 0 to 4294967295, given -1
train --clip-norm 0 | must be above 0, given 0
train --validation 1 | at least 0 and below 1, given 1: try 0.1
train --test-fraction 1 | outside [0, 1): give a share such as 0.2
train --dataset moons --noise -1 | noise -1.0 | finite number, 0 or more
train --dataset moons --examples 3 | 3 example(s) are too few for 'moons'
train {--checkpoint-every,--min-improvement} -1 | at least 0, given -1
train --validation 0.2 --patience 0 | --patience must be at least 1, given 0
train --time-limit {0,nan} | the time limit must be above 0 seconds, given {}
train --monitor score_ | 'score_': did you mean 'score'? | loss
# Options that do not fit together.
train --patience 3 | --patience watches a validation part, and none is held out: begin a run with --validation 0.2
train --dataset {sine,fractions.npz} --loss softmax_cross_entropy | '{}' | does not fit a regression
train --examples 50 | 'examples' does not apply to data set 'digits'
train --dataset pets.csv | needs a target column | 'hue', 'size', 'age', 'pet'
# Data that cannot be trained on.
{train --target pet --dataset,predict run} nowhere.csv | file 'nowhere.csv' does not exist
train --dataset folder.csv --target pet | 'folder.csv' is a folder without images: give a file
train --dataset notes.txt | 'notes.txt' is empty (0 rows below its first line)
train --dataset empty.csv --target pet | file 'empty.csv' is empty: the first line names the columns
{train --target pet --dataset,predict run} header.csv | 'header.csv' is empty (0 rows | give at least one row
train --dataset cut.csv --target pet | 'cut.csv' has 1 fields in line 41 and 4 in its first: is it cut off?
train --dataset latin.csv --target pet | 'latin.csv' is not UTF-8 text: save it as csv in UTF-8
{train --target pet --dataset,predict run} gap.csv --missing refuse
    | 'gap.csv' has missing values in 'age' (6), the first in line 5 of | fill them
train --dataset infinite.csv --target pet | line 5 of file 'infinite.csv', column 'size': 'inf' is too large or infinite
train --dataset single.csv --target pet | 'single.csv' has 1 class: classification needs at least 2
train --dataset pets.csv --target pet --task regression | has text targets | wants numbers
train --dataset empty.npz | 'empty.npz' | is empty (0 examples): give at least one example
train --dataset {nan,infinite,large}.npz | '{}.npz' | NaN or infinite | feature 2 | remove or replace
train --dataset lost.npz | 'lost.npz' | a target that is NaN or infinite | remove or replace
train --dataset short.npz | 'short.npz' | has 40 rows of features and 39 targets: give one target
train --dataset flat.npz | 'flat.npz' | has features of shape (40,): give [N, I]
train --dataset deep.npz | 'deep.npz' | has targets of shape (40, 2, 2): give [N] classes or [N, K]
train --dataset uneven.npz | 'uneven.npz' | (30, 5) | (10, 4) | give both parts alike
train --dataset fractions.npz --task classification | 'fractions.npz'
    | has targets that are not whole numbers (0.5): choose task 'regression', or give whole numbers
train --dataset twos.npz --task multilabel | 'twos.npz' | targets other than 0 and 1
train --dataset pickle.npz | 'pickle.npz' | holds pickled Python objects under 'targets' | never loaded
train --dataset {cut,altered,nothing}.npz | '{}.npz' | is not a whole .npz file: save it again
train --dataset names.npz | 'names.npz' | has the arrays a, b: give 'inputs' and 'targets'
train --dataset mnist --data-dir prepared --manual-dir manual
    | manual folder 'manual' holds none of the archives of 'mnist' | train-images-idx3-ubyte.gz
# Folders and files to write.
train --out run | run holds a run already: choose another folder with --out
train --out notes.txt{,/run} | the run folder notes.txt{} cannot be written | --out
train --out '' | --out names no folder: give one
# Prediction.
predict nowhere pets.csv | no run at nowhere: give a run folder
predict folder.csv pets.csv | no model file at folder.csv/model.safetensors
predict {cut.safetensors,notes.txt} pets.csv | {} is no whole jaxmlp model file
predict bare.safetensors pets.csv | was not saved by jaxmlp train | jaxmlp.load_model
predict run narrow.csv | lacks the columns 'age' | 'hue', 'size'
predict run wide.npz | has 7 features, the network takes 5
predict run green.csv --unseen refuse
    | column 'hue': 'green' was not in the training data, which had 'blue', 'grey', 'red'
predict run text.csv
    | line 6 of file 'text.csv', column 'age': 'old' is no number: mend it
predict run pets.csv --keep-columns hu | 'hu': did you mean 'hue'?
predict run pets.csv --device gup | device 'gup' is not there
predict run pets.csv --out folder.csv | 'folder.csv' is no file
predict run | arguments are required: FILE | --help
# Comparison.
compare run {nowhere,notes.txt} | no run at {}: give the folder
compare | arguments are required: RUN | --help
compare folder.csv | no run at folder.csv: give
compare run ./run | run is given twice: give each run once
compare run sweep | sweep is a run of jaxmlp sweep | give runs of jaxmlp train
compare 'cut run' | cut run/config.json does not describe a training run (it is no JSON text) | give the folder
compare other | other/config.json does not describe a training run (options is missing)
compare 'odd score' | unknown metric 'acuracy': did you mean 'accuracy'?
compare 'no table' | no table/metrics.csv lacks the column train_accuracy | begin the run again
compare run --out a.gif | cannot write 'a.gif' (.gif): end the file's name in .png
# The other programs.
gradcheck --dataset digits --sizes {64 5,63 10} | must begin with 64 and end with 10 for 'digits' | given {}
gradcheck --sizes 3 | at least inputs and outputs | given [3]
gradcheck --entries 0 | --entries must be at least 1 | 0
sweep --grid lerning_rate=1 | 'lerning_rate': did you mean 'learning_rate'?
sweep --grid seed=0..999999999 | at most 100,000 networks | 1,000,000,000
sweep --grid seed=0..999 batch_size=1..1000 | at most 100,000 networks | 1,000,000
sweep --random {8,learning_rate=log:1e-3..1,0 learning_rate=log:1e-3..1} | --random begins with a number | '{}'
sweep --grid momentum=0.9 | not to 'sgd' | --optimizer momentum
sweep --validation 0 | --validation | given 0: try 0.2
sweep --grid learning_rate{,=} | write NAME=VALUES
sweep --grid learning_rate=fast | 'fast' is no value of learning_rate
sweep --grid hidden=64y64 | '64y64' is no value of hidden: write 64x64 or none
sweep --grid hidden=0 | --hidden takes sizes of at least 1
sweep --grid seed=3..1 | the range must rise
sweep --grid seed=0 seed=1 | seed stands twice
sweep --grid learning_rate=log:1e-3..1 | a grid takes ranges of whole numbers
sweep --grid activation=relu..tanh | a range is for numbers
sweep --random 3 learning_rate=log:0..1 | a logarithmic range begins above 0
sweep --random 3 l2=0.1,0.2 l2=0.3 | l2 stands twice in --random
sweep --random 3 l2=0.1,0.2 --grid l2=0.3 | l2 stands in --grid and in --random
sweep --grid seed=0...7 | '.7' is no value of seed: write a whole number
sweep --halving 3 --epochs 1 | than the run of 1 epoch, given 1: train for more epochs, or compare sooner
sweep --folds 1 | --folds must be at least 2
sweep --halving 2 --grid epochs=2,4 | --halving chooses epochs itself: leave epochs out
sweep --halving 1 | eta must be a whole number of at least 2
sweep --halving 2 --first-rung 40 | shorter than the run of 40 epochs
sweep --first-rung 2 | --first-rung belongs to --halving
sweep {--cores,--block} 0 | {} must be at least 1, given 0
sweep --resume run --block 0 | --block must be at least 1, given 0
sweep --resume run --epochs 3 | --resume takes --epochs from the run
sweep --resume nowhere | no run at nowhere: give the folder of a sweep
sweep --resume run | run is the folder of a training run: go on by jaxmlp train --resume run
sweep --dataset pets.csv --target pet --folds 99 | folds must number from 2
gradcheck --l2 -1 | --l2 must be at least 0 | -1
{benchmark,startup} --repeats 0 | --repeats must be at least 1, given 0
benchmark --quick --cases tabular --repeats 3 | --quick sets --cases and --repeats
benchmark --cases mnist_30 | did you mean 'mnist_300'?
benchmark --peers nump | did you mean 'numpy'?
benchmark --optimizers sdg | unknown optimiser | did you mean 'sgd'?
benchmark --cases | at least one name each
benchmark --precision float64 | precision of the benchmark 'float64' | float32
growth --vary widht | did you mean 'width'?
growth --vary | --vary needs at least one name
{growth,startup,benchmark,compare run} --out no/x | the folder of no/x is not there: make it
report --results none | none holds none of
growth --out . | --out '.' is no file | json
"""


def _read(cases: str) -> Iterator[tuple[str, BadInput]]:
    for line in re.findall(r"^[^#\n].*", cases.replace("\n    | ", " | "), re.MULTILINE):
        command, *said = line.split(" | ")
        before, _, rest = command.partition("{")
        choices, _, after = rest.partition("}")
        for choice in choices.split(","):
            text = before + choice + after
            script, *arguments = shlex.split(text)
            if script == "train":  # one that wrongly begins is short, and in a folder of its own
                arguments = [*BRIEF, "--out", "new run", *arguments]
            yield text, BadInput(script, arguments, [part.replace("{}", choice) for part in said])


BAD_INPUTS = dict(_read(CASES))


def write_bad_files(folder: Path) -> None:
    """Write everything that the bad inputs name: damaged files, and a finished run on pets.csv."""
    train_ok(folder / "run", *BRIEF, "--dataset", write_pets(folder / "pets.csv"), "--target", "pet")
    (folder / "folder.csv").mkdir()
    (folder / "manual").mkdir()
    (folder / "notes.txt").write_text("not to be lost\n")
    _write_tables(folder)
    _write_arrays(folder)
    config = (folder / "run/config.json").read_text(encoding="utf-8")
    runs = {"cut run": config[: len(config) // 2], "other": "{}", "no table": config}
    runs["odd score"] = config.replace('"accuracy"', '"acuracy"')
    runs["sweep"] = '{"options": {"grid": [], "hidden": [4]}, "machine": {}}'
    for name, text in runs.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(text, encoding="utf-8")
    (folder / "no table/metrics.csv").write_text("epoch,train_loss\n1,0.5\n", encoding="utf-8")
    model = (folder / "run/model.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(model[: len(model) // 2])
    net = mlp([5, 2])
    save_model(folder / "bare.safetensors", net, init(net, jax.random.key(0)))


def _write_tables(folder: Path) -> None:
    text = (folder / "pets.csv").read_text(encoding="utf-8")
    write_pets(folder / "gap.csv", gaps=True)
    (folder / "latin.csv").write_bytes(text.replace("hue", "couleur\xe9").encode("latin-1"))
    for name, changed in {
        "empty": "",
        "header": text.partition("\n")[0] + "\n",
        "cut": text[: text.rindex(",9.5")],
        "infinite": text.replace(",3.5,", ",inf,", 1),
        "single": text.replace("dog", "cat"),
        "narrow": "\n".join(line.rsplit(",", 2)[0] for line in text.splitlines()),
        "green": text.replace("blue", "green"),
        "text": text.replace(",4,", ",old,"),
    }.items():
        (folder / f"{name}.csv").write_text(changed, encoding="utf-8")


def _write_arrays(folder: Path) -> None:
    inputs = np.random.default_rng(0).normal(size=(40, 5))
    labels, place = np.arange(40) % 2, np.zeros((40, 5), bool)
    place[3, 2] = True
    for name, (features, targets) in {
        "good": (inputs, labels),
        "empty": (inputs[:0], labels[:0]),
        "nan": (np.where(place, np.nan, inputs), labels),
        "infinite": (np.where(place, -np.inf, inputs), labels),
        "large": (np.where(place, 1e300, inputs), labels),
        "lost": (inputs, np.where(place[:, 2], np.nan, labels)),
        "short": (inputs, labels[:-1]),
        "flat": (inputs[:, 0], labels),
        "deep": (inputs, np.zeros((40, 2, 2))),
        "fractions": (inputs, labels + 0.5),
        "twos": (inputs, np.stack([labels * 2, 1 - labels], axis=1)),
        "pickle": (inputs, np.array([{"a": 1}] * 40, dtype=object)),
        "wide": (np.ones((4, 7)), np.zeros(4)),
    }.items():
        np.savez(folder / f"{name}.npz", inputs=features, targets=targets)
    np.savez(folder / "names.npz", a=inputs, b=labels)
    narrow = {"x_test": inputs[30:, :4], "y_test": labels[30:]}
    np.savez(folder / "uneven.npz", x_train=inputs[:30], y_train=labels[:30], **narrow)
    content = (folder / "good.npz").read_bytes()
    altered = content[:300] + bytes([content[300] ^ 255]) + content[301:]
    for name, damaged in {"nothing": b"", "cut": content[: len(content) // 2], "altered": altered}.items():
        (folder / f"{name}.npz").write_bytes(damaged)
