"""MNIST to 98 % in PyTorch, as a whole program: by jaxmlp's settings, written as practitioners do.

Usage: mnist_torch.py MNIST.npz SEED DEVICE PRECISION, as jaxmlp names the last two; prints the test accuracy.
"""

import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

HIDDEN, BATCH_SIZE, EPOCHS, LEARNING_RATE, WARM_UP = 256, 128, 3, 0.01, 0.1


def main(path: str, seed: int, device_name: str, precision: str) -> None:
    """Train and print the test accuracy."""
    torch.manual_seed(seed)
    device = torch.device(device_name.replace("gpu", "cuda"))
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.set_num_threads(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    with np.load(path) as file:
        inputs, labels, test_inputs, test_labels = (
            torch.from_numpy(file[name]).to(device)
            for name in ("train_inputs", "train_targets", "test_inputs", "test_targets")
        )
    inputs, test_inputs = inputs.float() / 255, test_inputs.float() / 255
    labels, test_labels = labels.long(), test_labels.long()
    model = torch.nn.Sequential(
        torch.nn.Linear(inputs.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
    ).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor_of(EPOCHS * -(-len(inputs) // BATCH_SIZE)))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs), device=device).split(BATCH_SIZE):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        accuracy = (model(test_inputs).argmax(dim=1) == test_labels).float().mean().item()
    print(f"test accuracy {100 * accuracy:.2f} %")


def factor_of(steps: int):  # type: ignore[no-untyped-def]
    """Go up to 1 in a straight line over a tenth of the steps, then down to 0 along half a cosine."""
    warm_up = round(WARM_UP * steps)

    def factor(step: int) -> float:
        if step < warm_up:
            return step / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))

    return factor


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
