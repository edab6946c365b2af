"""Layers: frozen dataclasses of static settings, each with `forward` directly above its `backward`."""

from jaxmlp.layers.dense import NARROW, PRECISIONS, Dense, DenseParams, weight_gradient
from jaxmlp.layers.elementwise import Activate, Scale
from jaxmlp.layers.layer import Inputs, Layer, Outputs, Weight, check_layers
from jaxmlp.layers.normalisation import Softmax
from jaxmlp.registry import Registry

__all__ = [
    "LAYERS",
    "NARROW",
    "PRECISIONS",
    "Activate",
    "Dense",
    "DenseParams",
    "Inputs",
    "Layer",
    "Outputs",
    "Scale",
    "Softmax",
    "Weight",
    "check_layers",
    "weight_gradient",
]

REGISTERED = (Dense, Activate, Softmax, Scale)
LAYERS: Registry[type] = Registry("layer", {layer.__name__: layer for layer in REGISTERED})
