import copy
import pickle

import pytest
from proprelu import Ratio
from proprelu._core import plan_sites


@pytest.mark.parametrize("value", ["3:2", (3, 2), Ratio(3, 2), " 3: 2 "])
def test_a_ratio_from_strings_pairs_and_ratios(value):
    ratio = Ratio(value)
    assert ratio == Ratio.of(value) == Ratio(3, 2)
    assert (ratio.convs, ratio.relus) == (3, 2)
    assert hash(ratio) == hash(Ratio(3, 2))
    assert (repr(ratio), str(ratio)) == ("Ratio(3, 2)", "3:2")


def test_a_ratio_is_not_reduced():
    assert Ratio("4:2") != Ratio("2:1")
    assert Ratio("2:1") != "2:1"


def test_a_ratio_is_pickled_and_copied():
    ratio = Ratio("5:3")
    assert pickle.loads(pickle.dumps(ratio)) == copy.deepcopy(ratio) == ratio


@pytest.mark.parametrize("text", ["1:2", "0:1", "a:b", "2", ""])
def test_a_bad_ratio_says_what_to_write(text):
    with pytest.raises(ValueError, match="ratio must have convs >= relus >= 1") as caught:
        Ratio(text)
    assert str(caught.value) == (
        f'ratio must have convs >= relus >= 1, got "{text}"; '
        'write it as "convs:relus", for example "2:1"'
    )


@pytest.mark.parametrize("pair", [(1, 2), (0, 0), (-1, -1)])
def test_bad_numbers_are_refused(pair):
    with pytest.raises(ValueError, match="convs >= relus >= 1"):
        Ratio(pair)
    with pytest.raises(ValueError, match="convs >= relus >= 1"):
        Ratio(*pair)


@pytest.mark.parametrize("value", [2.5, None, (1, 2, 3), [object()]])
def test_another_type_is_refused(value):
    with pytest.raises(TypeError, match='ratio must be "convs:relus", a pair'):
        Ratio(value)


def test_sites_are_planned():
    plan = plan_sites([None, 0, 0, 1, 1], "2:1", "last")
    assert plan.keep == [False, True, False, True, True]
    assert plan.groups == [0, 0, 1, 1, 2]
    assert (plan.kept, plan.achieved, plan.placement, plan.ratio) == (3, "5:3", "last", Ratio(2, 1))
    assert plan.reasons[0] == "1 of 2 in its group: the last is kept"
    by_block = plan_sites([None, 0, 0, 1, 1], "2:1", "block_last")
    assert by_block.keep == [True, True, False, True, False]


def test_no_sites_are_no_error():
    assert plan_sites([], "2:1", "last").keep == []
