"""Layers: frozen dataclasses of static settings, each with `forward` directly above its `backward`."""

from jaxmlp.layers.committee import Committee
from jaxmlp.layers.composed import Maxout, Residual
from jaxmlp.layers.dense import NARROW, PRECISIONS, Dense, DenseParams, weight_gradient  # noqa: F401
from jaxmlp.layers.elementwise import Activate, Dropout, ParametricActivate, Scale
from jaxmlp.layers.embedding import Embed, PeriodicEmbedding, PeriodicParams  # noqa: F401
from jaxmlp.layers.layer import Inputs, Layer, Outputs, Weight  # noqa: F401
from jaxmlp.layers.normalisation import BatchNorm, LayerNorm, NormParams, Softmax  # noqa: F401
from jaxmlp.registry import Registry

REGISTERED = (
    *(Dense, Activate, Softmax, Scale, ParametricActivate, PeriodicEmbedding, Embed, Dropout),
    *(LayerNorm, BatchNorm, Residual, Maxout, Committee),
)
LAYERS: Registry[type] = Registry("layer", {layer.__name__: layer for layer in REGISTERED})
