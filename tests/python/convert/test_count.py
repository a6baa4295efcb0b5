from proprelu import convert, ratio_of
from torch import nn


def test_uses_are_counted():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 3, 1), relu, nn.Conv2d(3, 3, 1), relu, nn.Conv2d(3, 3, 1))
    count = ratio_of(model)
    assert (count.convs, count.relus, str(count)) == (3, 2, "3:2")
    assert ratio_of(convert(model, "2:1")) == (3, 1)
    assert ratio_of(convert(model, "2:1", [False, False])) == (3, 0)


def test_no_relu_is_a_ratio_too():
    assert str(ratio_of(nn.Sequential(nn.Conv2d(3, 3, 1)))) == "1:0"
