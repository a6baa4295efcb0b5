"""Data sets by name; each function returns a ``Dataset`` for ``proprelu.Trainer``."""

from proprelu.datasets.cifar import cifar10, cifar100
from proprelu.datasets.fashion_mnist import fashion_mnist, fashion_mnist_small

__all__ = ["cifar10", "cifar100", "fashion_mnist", "fashion_mnist_small"]
