"""PyTorch as practitioners write a loop by hand: tensors in memory, minibatches by a permutation's rows."""

import itertools
import os
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from contestants.job import ADAM_B1, ADAM_B2, ADAM_EPSILON, MOMENTUM, Job, Layers, Settings, mean_of_steps


def torch_device(name: str) -> torch.device:
    """Turn a device's name, as JAX's "gpu:1", into PyTorch's, and use all cores."""
    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    return torch.device(name.replace("gpu", "cuda"))


def make_model(job: Job, device: torch.device) -> torch.nn.Sequential:
    """Build the network with the given parameters."""
    modules: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(job.settings.sizes):
        modules += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    with torch.no_grad():
        for linear, (w, b) in zip(linears(model), job.layers, strict=True):
            linear.weight.copy_(torch.tensor(w.T))
            linear.bias.copy_(torch.tensor(b))
    return model.to(device)


def linears(model: torch.nn.Sequential) -> list[torch.nn.Linear]:
    """List the layers that have parameters."""
    return [module for module in model if isinstance(module, torch.nn.Linear)]


def make_optimizer(settings: Settings, parameters: Any, **keywords: Any) -> torch.optim.Optimizer:
    """Build the optimiser in its fused form, the fastest that PyTorch has."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(
            parameters,
            lr=settings.learning_rate,
            betas=(ADAM_B1, ADAM_B2),
            eps=ADAM_EPSILON,
            **({"fused": True} | keywords),
        )
    momentum = MOMENTUM if settings.optimizer == "momentum" else 0.0
    return torch.optim.SGD(
        parameters, lr=settings.learning_rate, momentum=momentum, **({"fused": True} | keywords)
    )


class Program:
    """The loop of PyTorch's tutorials, without their DataLoader, whose cost would be most of it."""

    temporaries: int | None = None

    def __init__(self, job: Job) -> None:
        self.settings = job.settings
        self.device = torch_device(job.settings.device)
        torch.set_float32_matmul_precision("highest" if job.settings.precision == "float32" else "high")
        self.model = make_model(job, self.device)
        self.optimizer = make_optimizer(job.settings, self.model.parameters())
        self.inputs = torch.from_numpy(job.train_inputs).to(self.device)
        # Labels of PyTorch's cross-entropy are 64-bit integers.
        targets = torch.from_numpy(job.train_targets)
        self.targets = (targets if job.settings.task == "regression" else targets.long()).to(self.device)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the mean loss of a minibatch."""
        outputs = self.model(inputs)
        if self.settings.task == "regression":
            return 0.5 * F.mse_loss(outputs, targets)
        return F.cross_entropy(outputs, targets)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """Train on one minibatch; returns its loss, which stays on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.inputs[rows], self.targets[rows])
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def epoch(self, order: np.ndarray) -> float:
        size = self.settings.batch_size
        rows = torch.from_numpy(order.astype(np.int64)).to(self.device)
        losses = torch.stack([self.step(chosen) for chosen in rows.split(size)])
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the last update, too, belongs to the epoch
        return mean_of_steps(losses.cpu().numpy(), len(order), size)

    def layers(self) -> Layers:
        return [
            (linear.weight.detach().cpu().numpy().T.copy(), linear.bias.detach().cpu().numpy().copy())
            for linear in linears(self.model)
        ]
