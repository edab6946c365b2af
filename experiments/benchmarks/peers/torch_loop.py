"""PyTorch as practitioners write a loop by hand: eager, with `torch.compile`, and as a CUDA graph."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from jaxmlp.cli.session import available_cores
from peers.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Layers, Peer

WARM_UP = 3  # steps before a capture, on a side stream, as PyTorch asks for


class Eager(Peer):
    """The loop of PyTorch's tutorials, without their DataLoader, whose cost would be most of it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        torch.set_num_threads(available_cores())
        self.device = torch.device(job.settings.device.replace("gpu", "cuda"))
        torch.set_float32_matmul_precision("highest" if job.settings.precision == "float32" else "high")
        self.model = self._make_model()
        self.optimizer = self.make_optimizer(fused=True)
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

    def make_optimizer(self, **keywords: Any) -> torch.optim.Optimizer:
        """Build the optimiser; its fused form is the fastest that PyTorch has."""
        parameters, rate = self.model.parameters(), self.settings.learning_rate
        if self.settings.optimizer == "adam":
            return torch.optim.Adam(
                parameters, lr=rate, betas=(ADAM_B1, ADAM_B2), eps=ADAM_EPSILON, **keywords
            )
        momentum = MOMENTUM if self.settings.optimizer == "momentum" else 0.0
        return torch.optim.SGD(parameters, lr=rate, momentum=momentum, **keywords)

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
            self.optimizer = plain = self.make_optimizer(fused=False)
            self.update = torch.compile(lambda: plain.step())

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.compiled_loss(self.inputs[rows], self.targets[rows])
        loss.backward()
        self.update()
        return loss.detach()


class CudaGraph(Eager):
    """Rows go into a tensor that stays and a captured step is replayed; a last, shorter batch runs without it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        more = {"capturable": True} if job.settings.optimizer == "adam" else {}
        self.optimizer = self.make_optimizer(fused=True, **more)
        self.rows = torch.zeros(job.settings.batch_size, dtype=torch.int64, device=self.device)
        parameters = list(self.model.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                super().step(self.rows)
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.graph_loss = super().step(self.rows)
        # The steps above have moved the parameters and the optimiser: put both back, in place.
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
            for state in self.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        value.zero_()

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) != len(self.rows):
            return super().step(rows)
        self.rows.copy_(rows)
        self.graph.replay()
        return self.graph_loss.clone()
