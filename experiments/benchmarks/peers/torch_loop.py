"""PyTorch as practitioners write a loop by hand: eager, and with `torch.compile`."""

import numpy as np
import torch
import torch.nn.functional as F

from jaxmlp.cli.session import available_cores
from peers.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Layers, Peer


class Eager(Peer):
    """The loop of PyTorch's tutorials, without their DataLoader, whose cost would be most of it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        torch.set_num_threads(available_cores())
        self.device = torch.device(job.settings.device.replace("gpu", "cuda"))
        torch.set_float32_matmul_precision("highest" if job.settings.precision == "float32" else "high")
        self.model = self._make_model()
        self.optimizer = self.make_optimizer(is_fused=True)
        self.inputs = torch.from_numpy(job.train_inputs).to(self.device)
        # Labels of PyTorch's cross-entropy are 64-bit integers.
        targets = torch.from_numpy(job.train_targets)
        self.targets = (targets if job.settings.task == "regression" else targets.long()).to(self.device)

    def _make_model(self) -> torch.nn.Sequential:
        """Build the network with the given parameters."""
        modules: list[torch.nn.Module] = []
        for w, b in self.job.layers:
            linear = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.tensor(w.T))
                linear.bias.copy_(torch.tensor(b))
            modules += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*modules[:-1]).to(self.device)

    def make_optimizer(self, *, is_fused: bool) -> torch.optim.Optimizer:
        """Build the optimiser; its fused form is the fastest that PyTorch has."""
        parameters, rate = self.model.parameters(), self.settings.learning_rate
        if self.settings.optimizer == "adam":
            return torch.optim.Adam(
                parameters, lr=rate, betas=(ADAM_B1, ADAM_B2), eps=ADAM_EPSILON, fused=is_fused
            )
        momentum = MOMENTUM if self.settings.optimizer == "momentum" else 0.0
        return torch.optim.SGD(parameters, lr=rate, momentum=momentum, fused=is_fused)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the mean loss of a minibatch."""
        outputs = self.model(inputs)
        if self.settings.task == "regression":
            return 0.5 * F.mse_loss(outputs, targets)
        return F.cross_entropy(outputs, targets)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.inputs[rows], self.targets[rows])
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def epoch(self, order: np.ndarray) -> float:
        return super().epoch(torch.from_numpy(order.astype(np.int64)).to(self.device))

    def fetch(self, losses: list[torch.Tensor]) -> np.ndarray:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the last update, too, belongs to the epoch
        return torch.stack(losses).cpu().numpy()

    def layers(self) -> Layers:
        return [
            (linear.weight.detach().cpu().numpy().T.copy(), linear.bias.detach().cpu().numpy().copy())
            for linear in self.model
            if isinstance(linear, torch.nn.Linear)
        ]


class Compiled(Eager):
    """The loss is compiled with its gradient; of the updates, that of SGD: Adam's own fused one is faster."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        torch._dynamo.reset()  # what was compiled for another job counts against a limit
        self.compiled_loss = torch.compile(super().loss, dynamic=False)
        self.update = self.optimizer.step
        if job.settings.optimizer != "adam":
            self.optimizer = plain = self.make_optimizer(is_fused=False)
            self.update = torch.compile(lambda: plain.step())

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.compiled_loss(self.inputs[rows], self.targets[rows])
        loss.backward()
        self.update()
        return loss.detach()
