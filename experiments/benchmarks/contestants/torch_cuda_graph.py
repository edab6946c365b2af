"""PyTorch with a whole training step captured as a CUDA graph and replayed, as its documentation shows."""

from typing import Any

import torch

from contestants import torch_eager
from contestants.job import Job

WARM_UP = 3  # steps before a capture, on a side stream, as PyTorch asks for


class Program(torch_eager.Program):
    """Rows go into a tensor that stays, the graph is replayed; a last, shorter batch runs without one."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        keywords: dict[str, Any] = {"fused": True}
        if job.settings.optimizer == "adam":
            keywords["capturable"] = True
        self.optimizer = torch_eager.make_optimizer(job.settings, self.model.parameters(), **keywords)
        self.rows = torch.zeros(job.settings.batch_size, dtype=torch.int64, device=self.device)
        self._capture()

    def _capture(self) -> None:
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
