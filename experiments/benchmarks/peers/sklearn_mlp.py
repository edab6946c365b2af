"""scikit-learn's MLPClassifier and MLPRegressor, an epoch a call of `partial_fit`."""

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor

from peers.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Layers, Peer


class GivenOrder(np.random.RandomState):
    """A source of randomness whose shuffle lays an order that was given, for all to see the same batches."""

    order: np.ndarray

    def shuffle(self, x: Any) -> None:
        x[:] = self.order


class Sklearn(Peer):
    """The estimator with its regularisation and its stopping turned off; its Adam adds ε before a correction."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        settings, self.random = job.settings, GivenOrder(0)
        self.targets = job.train_targets if settings.task == "classification" else job.train_targets[:, 0]
        self.known = {}
        kind = MLPRegressor
        if settings.task == "classification":
            kind, self.known = MLPClassifier, {"classes": np.arange(settings.sizes[-1])}
        self.model = kind(
            hidden_layer_sizes=settings.sizes[1:-1],
            solver="adam" if settings.optimizer == "adam" else "sgd",
            alpha=0.0,
            batch_size=min(settings.batch_size, len(self.targets)),
            learning_rate_init=settings.learning_rate,
            momentum=MOMENTUM if settings.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
            beta_1=ADAM_B1,
            beta_2=ADAM_B2,
            epsilon=ADAM_EPSILON,
            tol=0.0,
            n_iter_no_change=1_000_000,
            random_state=self.random,
        )
        # It makes its arrays by one step, and then starts again from the given parameters.
        few = self.model.batch_size
        self.random.order = np.arange(few)
        self.model.partial_fit(self.job.train_inputs[:few], self.targets[:few], **self.known)
        for index, (w, b) in enumerate(self.job.layers):
            self.model.coefs_[index][...] = w
            self.model.intercepts_[index][...] = b
        del self.model._optimizer
        self.model.n_iter_ = self.model.t_ = 0

    def epoch(self, order: np.ndarray) -> float:
        self.random.order = order
        self.model.partial_fit(self.job.train_inputs, self.targets)
        return float(self.model.loss_)

    def layers(self) -> Layers:
        return [(w.copy(), b.copy()) for w, b in zip(self.model.coefs_, self.model.intercepts_, strict=True)]
