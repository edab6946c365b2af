"""PyTorch with `torch.compile`: the same loop, with forward, backward and SGD's update compiled."""

import torch

from contestants import torch_eager
from contestants.job import Job


class Program(torch_eager.Program):
    """The loss is compiled with its gradient; of the updates, that of SGD: Adam's own fused one is faster."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        torch._dynamo.reset()  # what was compiled for another job counts against a limit
        self.compiled_loss = torch.compile(super().loss, dynamic=False)
        self.update = self.optimizer.step
        if job.settings.optimizer != "adam":
            plain = torch_eager.make_optimizer(job.settings, self.model.parameters(), fused=False)
            self.optimizer = plain
            self.update = torch.compile(lambda: plain.step())

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.compiled_loss(self.inputs[rows], self.targets[rows])
        loss.backward()
        self.update()
        return loss.detach()
