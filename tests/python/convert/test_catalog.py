"""Converts a few networks of docs/results/models.md; ``make models`` converts all of them."""

import importlib
import sys
from pathlib import Path

import pytest

CONVERTED = [
    "torchvision alexnet",
    "torchvision mobilenet_v3_small",
    "torchvision mnasnet0_5",
    "torchvision shufflenet_v2_x0_5",
    "torchvision squeezenet1_1",
    "timm repvgg_a0",
    "timm ghostnet_050",
    "timm regnety_002",
    "timm resnet10t",
    "a 1-D network",
    "a network of transposed convolutions",
]
WITHOUT_SITE = {
    "timm vit_tiny_patch16_224": "no activation after a convolution",
    "timm naflexvit_base_patch16_gap": "no convolution",
}


@pytest.fixture
def catalog(monkeypatch):
    """Imports modules from the folder of the benchmark by name."""
    folder = Path(__file__).parents[3] / "benches"
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    return lambda name: importlib.import_module(f"catalog.{name}")


def row_of(catalog, name):
    (entry,) = (e for e in catalog("entries").entries() if e.name == name)
    return catalog("check").check(entry)


@pytest.mark.parametrize("name", CONVERTED)
def test_converted(catalog, name):
    row = row_of(catalog, name)
    assert (row.outcome, row.note) == ("converts", row.note)
    assert row.equal in ("exact", "to 1e-5")
    convs, relus = map(int, row.before.split(":"))
    assert row.sites == relus > 0
    # Half of the sites are kept, rounded up; convolutions without a site count too.
    assert row.after == f"{convs}:{(relus + 1) // 2}"


@pytest.mark.parametrize("name", WITHOUT_SITE)
def test_without_a_site(catalog, name):
    row = row_of(catalog, name)
    assert (row.outcome, row.note) == ("no site", WITHOUT_SITE[name])


def test_a_failure_is_a_row_with_its_reason(catalog):
    def build():
        raise RuntimeError("two\nlines | a bar")

    row = catalog("check").check(catalog("entries").Entry("a broken one", build))
    assert (row.outcome, row.note) == ("fails", "RuntimeError: two lines | a bar")
    report = catalog("report")
    assert "| a broken one |" in report.document([row])
    assert report.table([row]).splitlines()[-1].count("|") == 9
    assert report.line(row) == "a broken one: fails: RuntimeError: two lines | a bar"


def test_every_family_of_timm_is_included(catalog):
    timm = catalog("entries").timm
    smallest = catalog("families").SMALLEST
    assert set(smallest) <= set(timm.list_modules())
    for family, name in smallest.items():
        assert timm.models.is_model_in_modules(name, [family]), name
