"""The symbols that a trace computes with."""

import dis
import operator
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from torch import Tensor, fx

# Instructions between the computation of a condition, the jump and what follows it.
_FILLERS = ("TO_BOOL", "CACHE", "NOT_TAKEN", "EXTENDED_ARG")
_IN_PLACE = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "matmul")


class Symbol(fx.Proxy):
    """A proxy that records in-place operators and assignments to items, and passes assertions."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})

    def __bool__(self) -> bool:
        return _is_asserted() or bool(super().__bool__())


def _is_asserted() -> bool:
    """Whether the truth value that is being computed is the condition of an ``assert``."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if frame is None:
        return False
    code = [each for each in dis.get_instructions(frame.f_code) if each.opname not in _FILLERS]
    ahead = [each for each in code if each.offset >= frame.f_lasti][:2]
    if len(ahead) < 2 or "JUMP" not in ahead[0].opname:
        return False
    if ahead[0].opname.endswith("IF_FALSE"):  # assert a and b
        ahead = [each for each in code if each.offset >= ahead[0].argval][:1]
    return ahead[-1].opname == "LOAD_ASSERTION_ERROR" or ahead[-1].argrepr == "AssertionError"


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[Symbol, Any], Any]:
    def record(self: Symbol, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _name in _IN_PLACE:
    setattr(Symbol, f"__i{_name}__", _in_place(getattr(operator, f"__i{_name}__")))


class ShapedSymbol(Symbol):
    """A symbol with a concrete shape, and with a concrete value if it is a number."""

    @property
    def _value(self) -> Any:
        return self.tracer.shapes.of(self.node)  # type: ignore[attr-defined]

    def __getattr__(self, k: str) -> Any:
        value = self._value
        if not isinstance(value, Tensor) or not hasattr(Tensor, k) or k == "grad":
            return super().__getattr__(k)
        with self.tracer.shapes.computing():  # type: ignore[attr-defined]
            found = getattr(value, k)
        if callable(found):
            return super().__getattr__(k)
        if isinstance(found, Tensor):  # x.data, x.T
            return self.tracer.create_proxy("call_function", getattr, (self, k), {})
        return found

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> Any:
        return self.ndim

    def numel(self) -> int:
        return int(self._value.numel())

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Any]:
        return iter([operator.getitem(self, i) for i in range(len(self))])

    def __bool__(self) -> bool:
        if isinstance(self._value, (bool, int, float)):
            return bool(self._value)
        return bool(super().__bool__())

    def __index__(self) -> int:
        if isinstance(self._value, int):
            return self._value
        raise TypeError("the values of a tensor are not available during a trace")

    def __int__(self) -> int:
        return int(self.__float__())

    def __float__(self) -> float:
        if isinstance(self._value, (int, float)):
            return float(self._value)
        raise TypeError("the values of a tensor are not available during a trace")
