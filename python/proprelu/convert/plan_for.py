"""``plan_for``: shows what a conversion would do."""

from collections.abc import Collection

from torch import nn

from proprelu.convert.budget import as_goal, plan_within
from proprelu.convert.inspect import inspect, need_sites
from proprelu.convert.parts import Ratios
from proprelu.convert.plan import Placement, Plan, make_plan
from proprelu.convert.verify import verify_conversion
from proprelu.graph import RECTIFIERS, decide


def plan_for(
    model: nn.Module,
    ratio: Ratios,
    placement: Placement = "last",
    example_input: object = None,
    *,
    skip: Collection[str] = (),
    group: str = "network",
    count_shortcuts: bool = False,
    activations: Collection[str] = RECTIFIERS,
    objective: str | None = None,
    budget: float | None = None,
    verify: bool = False,
) -> Plan:
    """Show what ``convert`` would do, without changing the model.

    Args:
        model: a convolutional network. If it was converted before, its dropped sites count too.
        ratio: convolutions to ReLUs, as ``"2:1"``, ``(2, 1)`` or a ``Ratio``. For N:M the sites, in
            execution order, are divided into groups of N, and each group keeps M ReLUs. A shorter
            last group keeps its share, rounded (a half up). Or a dict with a ratio for each part of
            the model, ``{"layer1": "1:1", "layer[2-3].*": "2:1", "default": "3:2"}``: a key is the
            path of an activation, of its convolution or of a module around them, with ``*``, ``?``
            and ``[...]`` as in a shell. The first key that matches applies; a site that no key
            matches stays unchanged.
        placement: which ReLUs of a group are kept: the ``"last"`` ones, the ``"first"`` ones, or
            ``"even"`` (spread over the group). Or a choice over the whole network (or over each
            part that ``ratio`` or ``group`` sets), with the same number kept: ``"front"`` (only the
            first ReLUs are kept), ``"back"`` (only the last), ``"block_last"`` (the last ReLU of
            each residual block is dropped first), or the ranking that ``sensitivity`` or
            ``learn_placement`` returned (the cheapest are dropped). Or a mask, one boolean for each
            site, which replaces the ratio.
        example_input: a tensor, (N, C, H, W), or a tuple of arguments, for a model with a forward
            that needs concrete shapes to be traced.
        skip: patterns, like the keys of ``ratio``, of sites that stay unchanged and do not count.
        group: the boundary that a group must not cross: ``"network"`` (none), ``"stage"`` (where
            the resolution changes) or ``"block"`` (a residual block).
        count_shortcuts: whether the 1x1 convolution of a shortcut counts as a convolution of its
            group; it has no ReLU that could be kept.
        activations: the kinds of activations that are sites: ``"relu"``, ``"relu6"``,
            ``"leaky_relu"``, ``"prelu"``, ``"elu"``, ``"celu"``, ``"selu"``, ``"gelu"``,
            ``"silu"``, ``"mish"``, ``"hardswish"``.
        objective: what ``budget`` limits: ``"latency"``, as measured on this machine for the shapes
            of ``example_input``, or ``"macs"``, multiplications.
        budget: the part of the original's cost, between 0 and 1, that the network may have after
            ``convert`` and ``merge``. The original is merged as well, as far as it can be as it is.
            For a latency the network of the plan is timed as a whole, and the plan is made again
            until it meets the budget closely.
            Of all choices within the budget, the plan is the one whose dropped sites have the
            lowest sum of costs in the ranking, which ``placement`` has to be. No more sites are
            dropped than ``ratio`` drops. To convert, pass ``placement=plan.keep``. If the ranking
            has costs of layers (``sensitivity(..., layers=True)``), these may go as well, with
            ``remove_layers(converted, plan.removed, example_input)``.
        verify: compare the model as ``convert`` would intercept its activations with the model as
            it is: outputs, gradients, and whether each activation is met as planned. Needs
            ``example_input`` if no input can be made up.

    Returns:
        The plan, with the exact ratio that it achieves.

    Raises:
        ValueError: an invalid ratio, placement or mask; a pattern that matches nothing; a model
            without convolutions or activations, or one that cannot be traced or is wrapped (DDP,
            torch.compile); a budget that cannot be met.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> plan_for(net, "2:1").keep
        [False, True]
        >>> plan_for(net, {"1": "1:1", "default": "3:1"}).keep
        [True, False]

    Reference:
        Zhao et al., "Rethink ReLU to Training Better CNNs", arXiv 1709.06247. The position of the
        ReLUs in a group is our interpretation. ``block_last`` follows EraseReLU, arXiv 1709.07634.
        Latency budgets: Kim et al., arXiv 2301.12187, and with layers removed arXiv 2406.12837;
        sensitivities as the cost are ours.
    """
    goal = as_goal(objective, budget, placement, example_input)
    traced, sites = inspect(model, example_input, activations)
    need_sites(model, sites, activations)
    plan = make_plan(model, sites, ratio, placement, skip, group, count_shortcuts)
    if goal is None:
        plan.warn(stacklevel=3)
    else:
        plan = plan_within(goal, model, sites, plan, activations)
    if verify:
        decide(traced, sites.sites, plan.keep if plan.dropped else [False] * len(plan.sites))
        verify_conversion(model, traced, example_input, verify=True)
    return plan
