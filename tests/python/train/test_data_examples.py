"""The examples in the docstrings run."""

import doctest

import pytest
from proprelu.train import augment, cifar, data, fashion_mnist, torch_batches


@pytest.mark.parametrize("module", [augment, cifar, data, fashion_mnist, torch_batches])
def test_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
