"""The package's epoch with `jax.value_and_grad` in place of backpropagation: a reference, not a peer."""

from typing import Any
from unittest import mock

import jax

from contestants import jaxmlp_scan
from contestants.job import Job
from jaxmlp import LOSSES, Network
from jaxmlp.backprop import Objective, l2_term, mean_loss
from jaxmlp.network import propagate
from jaxmlp.training import steps


def autodiff_objective(net: Network, params: Any, inputs: Any, targets: Any, **keywords: Any) -> Objective:
    """Compute what `objective_and_grads` computes, with the same way forward and JAX's own way back."""

    def value_and_outputs(candidate: Any) -> tuple[Any, Any]:
        outputs, _ = propagate(net, candidate, inputs, train=keywords["train"], key=keywords["key"])
        value = mean_loss(LOSSES[keywords["loss"]], outputs, targets, keywords["sample_weight"])
        return value + l2_term(net, candidate, keywords["l2"]), outputs

    (value, outputs), grads = jax.value_and_grad(value_and_outputs, has_aux=True)(params)
    return Objective(value, grads, outputs)


class Program(jaxmlp_scan.Program):
    """The same program with the other gradient, put in the place of ours while it is traced."""

    def __init__(self, job: Job) -> None:
        with mock.patch.object(steps, "objective_and_grads", autodiff_objective):
            super().__init__(job)
