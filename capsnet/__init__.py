"""Capsule networks: train, evaluate, compare and explore them.

    from capsnet import load, save                                        # a trained network: load(RUN).predict(...)
    from capsnet import compose, train                                    # what the command line does, from Python
    from capsnet.lightning import CapsNetModule, KMNISTDataModule         # for your own Lightning Trainer
    from capsnet import CapsNet, dynamic_routing, margin_loss, squash     # the library
    from capsnet import Output, Source, setting                           # for plugins, see docs/extending.md

A name is loaded when it is first used, so that a program can check its settings before it loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .threads import wait_without_spinning

if TYPE_CHECKING:
    from .data.source import LabelledImages as LabelledImages
    from .data.source import Source as Source
    from .losses import MarginLoss as MarginLoss
    from .losses import margin_loss as margin_loss
    from .losses import reconstruction_loss as reconstruction_loss
    from .losses import spread_loss as spread_loss
    from .networks.capsnet import CapsNet as CapsNet
    from .networks.conv_capsules import Capsules as Capsules
    from .networks.conv_capsules import ConvCapsules as ConvCapsules
    from .networks.conv_capsules import adjust_layers as adjust_layers
    from .networks.efficient_capsnet import EfficientCapsNet as EfficientCapsNet
    from .networks.matrix_capsnet import MatrixCapsNet as MatrixCapsNet
    from .networks.matrix_capsnet import MatrixPrimaryCapsules as MatrixPrimaryCapsules
    from .networks.res_capsnet import ResCapsNet as ResCapsNet
    from .output import Output as Output
    from .output import Targets as Targets
    from .routing.attention import AttentionRouting as AttentionRouting
    from .routing.attention import attention_routing as attention_routing
    from .routing.dynamic import DynamicRouting as DynamicRouting
    from .routing.dynamic import dynamic_routing as dynamic_routing
    from .routing.em import EMRouting as EMRouting
    from .routing.em import em_routing as em_routing
    from .routing.inverted import InvertedMatrixRouting as InvertedMatrixRouting
    from .routing.inverted import InvertedRouting as InvertedRouting
    from .routing.inverted import inverted_routing as inverted_routing
    from .routing.matrices import LayerVotes as LayerVotes
    from .routing.matrices import MatrixRouting as MatrixRouting
    from .routing.matrices import Routed as Routed
    from .routing.self_routing import SelfRouting as SelfRouting
    from .routing.self_routing import self_routing as self_routing
    from .routing.squash import squash as squash
    from .routing.static import StaticRouting as StaticRouting
    from .routing.steps import RoutingStep as RoutingStep
    from .routing.transformation import TransformationMatrices as TransformationMatrices
    from .routing.uniform import UniformMatrixRouting as UniformMatrixRouting
    from .routing.uniform import UniformRouting as UniformRouting
    from .routing.vb import VariationalBayesRouting as VariationalBayesRouting
    from .routing.vb import vb_routing as vb_routing
    from .runs.saving import save as save
    from .runs.trained import load as load
    from .scripting import train as train
    from .settings.composing import compose as compose
    from .settings.optimizer import Optimizer as Optimizer
    from .settings.setting import setting as setting
    from .tasks.classify import Classify as Classify
    from .tasks.task import Task as Task
    from .tasks.task import Tested as Tested

_MODULES = {
    "CapsNet": ".networks.capsnet",
    "EfficientCapsNet": ".networks.efficient_capsnet",
    "ResCapsNet": ".networks.res_capsnet",
    "MatrixCapsNet": ".networks.matrix_capsnet",
    "MatrixPrimaryCapsules": ".networks.matrix_capsnet",
    "Capsules": ".networks.conv_capsules",
    "ConvCapsules": ".networks.conv_capsules",
    "adjust_layers": ".networks.conv_capsules",
    "Output": ".output",
    "Targets": ".output",
    "Task": ".tasks.task",
    "Tested": ".tasks.task",
    "Classify": ".tasks.classify",
    "Source": ".data.source",
    "LabelledImages": ".data.source",
    "DynamicRouting": ".routing.dynamic",
    "dynamic_routing": ".routing.dynamic",
    "UniformMatrixRouting": ".routing.uniform",
    "UniformRouting": ".routing.uniform",
    "StaticRouting": ".routing.static",
    "AttentionRouting": ".routing.attention",
    "attention_routing": ".routing.attention",
    "InvertedMatrixRouting": ".routing.inverted",
    "InvertedRouting": ".routing.inverted",
    "inverted_routing": ".routing.inverted",
    "EMRouting": ".routing.em",
    "em_routing": ".routing.em",
    "VariationalBayesRouting": ".routing.vb",
    "vb_routing": ".routing.vb",
    "SelfRouting": ".routing.self_routing",
    "self_routing": ".routing.self_routing",
    "squash": ".routing.squash",
    "RoutingStep": ".routing.steps",
    "TransformationMatrices": ".routing.transformation",
    "LayerVotes": ".routing.matrices",
    "MatrixRouting": ".routing.matrices",
    "Routed": ".routing.matrices",
    "margin_loss": ".losses",
    "MarginLoss": ".losses",
    "spread_loss": ".losses",
    "reconstruction_loss": ".losses",
    "load": ".runs.trained",
    "save": ".runs.saving",
    "train": ".scripting",
    "compose": ".settings.composing",
    "Optimizer": ".settings.optimizer",
    "setting": ".settings.setting",
}

__all__ = list(_MODULES)
__version__ = "0.1.0"


wait_without_spinning()  # before anything loads torch


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
