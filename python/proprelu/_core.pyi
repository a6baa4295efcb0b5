"""The Rust core."""

from collections.abc import Sequence
from typing import final

__version__: str

# ---- ratio ----

@final
class Ratio:
    """Convolutions to ReLUs, ``convs >= relus >= 1``.

    Equal and hashable by its two numbers, which are not reduced: ``4:2`` is not ``2:1``, as the
    first one is the length of the groups that the ratio is kept in.

    Args:
        convs: the number of convolutions; or the whole ratio as text ``"2:1"``, as a pair
            ``(2, 1)`` or as another Ratio.
        relus: the number of ReLUs among them.

    Raises:
        ValueError: not ``convs >= relus >= 1``, or a text that can't be read.
        TypeError: something else than the above.

    Example:
        >>> Ratio("2:1")
        Ratio(2, 1)
        >>> str(Ratio(3, 2))
        '3:2'
    """

    def __new__(
        cls, convs: int | str | tuple[int, int] | Ratio, relus: int | None = None
    ) -> Ratio: ...
    @classmethod
    def of(cls, value: str | tuple[int, int] | Ratio) -> Ratio:
        """A ratio from whatever may stand for one."""
    @property
    def convs(self) -> int: ...
    @property
    def relus(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[int, int]: ...

@final
class SitePlan:
    """The decision over a list of sites, in execution order."""

    @property
    def ratio(self) -> Ratio: ...
    @property
    def placement(self) -> str:
        """The placement's name, ``"mask"`` for an explicit one."""
    @property
    def keep(self) -> list[bool]:
        """For each site, whether its ReLU stays."""
    @property
    def groups(self) -> list[int]:
        """For each site, the number of its group, from 0."""
    @property
    def reasons(self) -> list[str]:
        """For each site, why it is kept or dropped."""
    @property
    def kept(self) -> int:
        """How many stay."""
    @property
    def achieved(self) -> str:
        """Sites to kept ReLUs, not reduced: ``"19:10"``."""

def plan_sites(
    blocks: Sequence[int | None],
    ratio: str | tuple[int, int] | Ratio,
    placement: str | Sequence[bool],
) -> SitePlan:
    """Decide which of a network's sites keep their ReLU.

    Args:
        blocks: for each site, in execution order, the number of its residual block, or None.
        ratio: what is asked for.
        placement: ``"last"``, ``"first"``, ``"even"``, ``"front"``, ``"back"``, ``"block_last"``
            (see :func:`proprelu.plan_for`), or the mask itself.

    Raises:
        ValueError: a ratio or placement that can't be, a mask of another length, ``"block_last"``
            without blocks.

    Example:
        >>> plan_sites([None] * 5, "2:1", "last").keep
        [False, True, False, True, True]
    """
