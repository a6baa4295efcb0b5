import doctest
import importlib
import pkgutil

import proprelu
import pytest

MODULES = [
    module.name
    for part in ("graph", "convert", "nn", "models")
    for module in pkgutil.walk_packages(
        importlib.import_module(f"proprelu.{part}").__path__, f"proprelu.{part}."
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"proprelu": proprelu})
    assert failed == 0
