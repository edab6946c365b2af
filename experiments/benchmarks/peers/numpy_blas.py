"""Training by hand in NumPy on BLAS: every buffer made once, every operation in place."""

import numpy as np

from peers.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Layers, Peer


class _Buffers:
    """The arrays of a step of a certain number of examples: values and gradients of every layer."""

    def __init__(self, sizes: tuple[int, ...], examples: int, target: np.ndarray) -> None:
        self.values = [np.empty((examples, size), np.float32) for size in sizes]
        self.grads = [np.empty((examples, size), np.float32) for size in sizes[1:]]
        self.positive = [np.empty((examples, size), bool) for size in sizes[1:-1]]
        self.targets = np.empty((examples, *target.shape[1:]), target.dtype)
        self.each = np.arange(examples)
        self.column = np.empty((examples, 1), np.float32)


class _Update:
    """An optimiser over all parameters at once, which lie in one vector."""

    def __init__(self, optimizer: str, learning_rate: float, parameters: int) -> None:
        self.optimizer, self.rate, self.steps = optimizer, learning_rate, 0
        self.first, self.second, self.spare = (np.zeros(parameters, np.float32) for _ in range(3))

    def __call__(self, params: np.ndarray, grads: np.ndarray) -> None:
        self.steps += 1
        if self.optimizer == "adam":
            return self._adam(params, grads)
        if self.optimizer == "momentum":
            self.first *= np.float32(MOMENTUM)
            self.first += grads
            grads = self.first
        np.multiply(grads, np.float32(self.rate), out=self.spare)
        params -= self.spare

    def _adam(self, params: np.ndarray, grads: np.ndarray) -> None:
        # Kingma and Ba 2015, algorithm 1, with the divisions by 1 − βᵗ taken out of the vectors.
        first_share, second_share = 1 - ADAM_B1**self.steps, 1 - ADAM_B2**self.steps
        root = np.sqrt(second_share)
        self.first *= np.float32(ADAM_B1)
        np.multiply(grads, np.float32(1 - ADAM_B1), out=self.spare)
        self.first += self.spare
        self.second *= np.float32(ADAM_B2)
        np.multiply(grads, grads, out=self.spare)
        self.spare *= np.float32(1 - ADAM_B2)
        self.second += self.spare
        np.sqrt(self.second, out=self.spare)
        self.spare += np.float32(ADAM_EPSILON * root)
        np.divide(self.first, self.spare, out=self.spare)
        self.spare *= np.float32(self.rate * root / first_share)
        params -= self.spare


class NumPy(Peer):
    """A two-fold loop over epochs and minibatches with backpropagation written out."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.params = np.concatenate([array.ravel() for layer in job.layers for array in layer])
        self.grads = np.zeros_like(self.params)
        self.weights, self.gradients = self._views(self.params), self._views(self.grads)
        self.update = _Update(job.settings.optimizer, job.settings.learning_rate, self.params.size)
        self.buffers: dict[int, _Buffers] = {}

    def _views(self, vector: np.ndarray) -> Layers:
        layers, start = [], 0
        for w, b in self.job.layers:
            middle, end = start + w.size, start + w.size + b.size
            layers.append((vector[start:middle].reshape(w.shape), vector[middle:end]))
            start = end
        return layers

    def layers(self) -> Layers:
        return [(w.copy(), b.copy()) for w, b in self.weights]

    def step(self, rows: np.ndarray) -> float:
        count = len(rows)
        if count not in self.buffers:
            self.buffers[count] = _Buffers(self.settings.sizes, count, self.job.train_targets)
        held = self.buffers[count]
        # Without mode="clip" NumPy would gather into a buffer of its own first.
        np.take(self.job.train_inputs, rows, axis=0, out=held.values[0], mode="clip")
        np.take(self.job.train_targets, rows, axis=0, out=held.targets, mode="clip")
        self._forward(held)
        loss = self._loss(held)
        self._backward(held)
        self.update(self.params, self.grads)
        return loss

    def _forward(self, held: _Buffers) -> None:
        for index, (w, b) in enumerate(self.weights):
            outputs = held.values[index + 1]
            np.matmul(held.values[index], w, out=outputs)
            outputs += b
            if index < len(self.weights) - 1:
                np.maximum(outputs, 0, out=outputs)

    def _loss(self, held: _Buffers) -> float:
        """Compute the mean loss, and leave its gradient by the outputs in the last layer's buffer."""
        outputs, grad, count = held.values[-1], held.grads[-1], len(held.each)
        if self.settings.task == "regression":
            np.subtract(outputs, held.targets, out=grad)
            loss = 0.5 * float(np.vdot(grad, grad)) / count
        else:
            np.max(outputs, axis=1, keepdims=True, out=held.column)
            outputs -= held.column
            np.exp(outputs, out=grad)
            np.sum(grad, axis=1, keepdims=True, out=held.column)
            loss = float(np.log(held.column).sum() - outputs[held.each, held.targets].sum()) / count
            grad /= held.column
            grad[held.each, held.targets] -= 1
        grad *= np.float32(1 / count)
        return loss

    def _backward(self, held: _Buffers) -> None:
        for index in reversed(range(len(self.weights))):
            w_grad, b_grad = self.gradients[index]
            np.matmul(held.values[index].T, held.grads[index], out=w_grad)
            np.sum(held.grads[index], axis=0, out=b_grad)
            if index > 0:
                np.matmul(held.grads[index], self.weights[index][0].T, out=held.grads[index - 1])
                np.greater(held.values[index], 0, out=held.positive[index - 1])
                held.grads[index - 1] *= held.positive[index - 1]
