"""Networks for small images, each built with a ratio and a placement."""

from proprelu.models.densenet import DenseNet, densenet
from proprelu.models.mgnet import MgNet, mgnet
from proprelu.models.nin import NIN, nin
from proprelu.models.registry import create, names
from proprelu.models.resnet import ResNet, resnet
from proprelu.models.vgg import VGG, vgg
from proprelu.models.vit import ViT, vit

__all__ = [
    "NIN",
    "VGG",
    "DenseNet",
    "MgNet",
    "ResNet",
    "ViT",
    "create",
    "densenet",
    "mgnet",
    "names",
    "nin",
    "resnet",
    "vgg",
    "vit",
]
