"""Modules and parameters in lists and dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, ClassVar, Generic, TypeVar, overload

from ..tensor import Tensor
from .module import Module
from .naming import described
from .parameter import Parameter

N = TypeVar("N", bound="_Numbered")
V = TypeVar("V")


class _Numbered(Module):
    """Parts in order. Their names are their positions unless they were given others."""

    def _parts(self) -> list[Module]:
        parts = []
        for name, module in self._modules.items():
            if module is None:
                raise TypeError(f"{type(self).__name__}: part {name!r} is None")
            parts.append(module)
        return parts

    def _name_at(self, index: int) -> str:
        count = len(self._modules)
        if not isinstance(index, int):
            raise TypeError(
                f"{type(self).__name__}: positions are integers and slices, got {type(index).__name__}"
            )
        if not -count <= index < count:
            raise IndexError(f"{type(self).__name__}: position {index} is out of range for {count} parts")
        return list(self._modules)[index]

    def _renumber(self, parts: Iterable[Module]) -> None:
        self._modules.clear()
        for number, module in enumerate(parts):
            self.add_module(str(number), module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._parts())

    def __getitem__(self, index: int | slice) -> Any:
        """A part, or for a slice a new container of the same kind that shares the parts."""
        if not isinstance(index, slice):
            return self._modules[self._name_at(index)]
        made = type(self)()
        parts = zip(list(self._modules)[index], self._parts()[index], strict=True)
        for number, (name, module) in enumerate(parts):
            made.add_module(self._name_in_slice(number, name), module)
        return made

    def _name_in_slice(self, number: int, name: str) -> str:
        return str(number) if name.isdigit() else name

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name_at(index)]
        for name in names:
            del self._modules[name]
        if all(name.isdigit() for name in self._modules):
            self._renumber(self._parts())

    def append(self: N, module: Module) -> N:
        """Add a part at the end; its name is its position, or the next number that is free."""
        number = len(self)
        while str(number) in self._modules:
            number += 1
        self.add_module(str(number), module)
        return self

    def extend(self: N, modules: Iterable[Module]) -> N:
        """Add parts at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self: N, index: int, module: Module) -> N:
        """Put a part before position ``index``; parts that have numbers for names get new ones."""
        if not all(name.isdigit() for name in self._modules):
            raise ValueError(
                f"{type(self).__name__}: insert works where names are positions, "
                f"here they are {list(self._modules)}"
            )
        parts = self._parts()
        parts.insert(index, module)
        self._renumber(parts)
        return self

    def pop(self, index: int = -1) -> Module:
        """Take a part out and return it."""
        module: Module = self[index]
        del self[index]
        return module


class Sequential(_Numbered):
    """Parts that run one after the other: ``Sequential(a, b)`` or ``Sequential(OrderedDict([("fc1", a),
    ("act", b)]))``.

    With names from a dictionary (or ``add_module``), state-dict keys read ``fc1.weight``; otherwise
    ``0.weight``.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        if len(parts) == 1 and isinstance(parts[0], Mapping):
            for name, module in parts[0].items():
                self.add_module(name, module)
        else:
            self.extend(parts)

    def _name_in_slice(self, number: int, name: str) -> str:
        """As in PyTorch parts keep their names, so the state of the whole has that of a slice in it."""
        return name

    def __add__(self, other: Sequential) -> Sequential:
        """A new sequence of the parts of both."""
        return Sequential(*self, *other) if isinstance(other, Sequential) else NotImplemented

    def __iadd__(self, other: Sequential) -> Sequential:
        return self.extend(other) if isinstance(other, Sequential) else NotImplemented

    def __mul__(self, times: int) -> Sequential:
        """A new sequence that runs through the same parts so many times."""
        if not isinstance(times, int) or isinstance(times, bool):
            return NotImplemented
        if times < 1:
            raise ValueError(f"Sequential: can be repeated once or more often, got {times}")
        return Sequential(*self._parts() * times)

    __rmul__ = __mul__

    def forward(self, input: Any) -> Any:
        for module in self._parts():
            input = module(input)
        return input


class ModuleList(_Numbered):
    """A list whose entries are parts of the module that holds it."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def __iadd__(self, modules: Iterable[Module]) -> ModuleList:
        return self.extend(modules)

    def __add__(self, modules: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *modules])

    def __repr__(self) -> str:
        """Neighbours that print alike share an entry, as ``(0-5): 6 x ...``."""
        alike = [(text, list(run)) for text, run in groupby(enumerate(self), lambda part: repr(part[1]))]
        parts = [
            (str(run[0][0]), text) if len(run) == 1 else (f"{run[0][0]}-{run[-1][0]}", f"{len(run)} x {text}") for text, run in alike
        ]
        return described(type(self).__name__, self.extra_repr(), parts)


class _Keyed(Module, Generic[V]):
    """A dictionary whose values are registered with the module, in the table called ``_table``; keys are their names."""

    _table: ClassVar[str]

    def __setitem__(self, key: str, value: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define __setitem__()")

    @property
    def _held(self) -> dict[str, V]:
        held: dict[str, V] = getattr(self, self._table)
        return held

    def __getitem__(self, key: str) -> V:
        return self._held[key]

    def __delitem__(self, key: str) -> None:
        del self._held[key]

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def keys(self) -> Iterable[str]:
        return self._held.keys()

    def values(self) -> Iterable[V]:
        return self._held.values()

    def items(self) -> Iterable[tuple[str, V]]:
        return self._held.items()

    def update(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add or replace entries."""
        for key, value in entries.items() if isinstance(entries, (Mapping, _Keyed)) else entries:
            self[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        """An entry, or ``default`` where there is none."""
        return self._held.get(key, default)

    def pop(self, key: str) -> V:
        """Take an entry out and return it. Raises `KeyError` where there is none."""
        return self._held.pop(key)

    def clear(self) -> None:
        """Take all entries out."""
        self._held.clear()


class ModuleDict(_Keyed[Module]):
    """A dictionary whose values are parts of the module that holds it; keys are their names."""

    _table = "_modules"

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(() if modules is None else modules)

    def __setitem__(self, key: str, value: Module) -> None:
        if not isinstance(value, Module):
            raise TypeError(f"ModuleDict: {key!r} must be a Module, got {type(value).__name__}")
        self.add_module(key, value)


class ParameterList(Module):
    """A list of parameters of the module that holds it; plain tensors become parameters."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(() if values is None else values)

    def _name_at(self, index: int) -> str:
        count = len(self._parameters)
        if not -count <= index < count:
            raise IndexError(f"ParameterList: position {index} is out of range for {count} parameters")
        return str(index % count)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Tensor]:
        return iter([self[i] for i in range(len(self))])

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> ParameterList: ...
    def __getitem__(self, index: int | slice) -> Tensor | ParameterList:
        """A parameter, or for a slice a new list that shares them."""
        if isinstance(index, slice):
            return ParameterList(list(self)[index])
        parameter = self._parameters[self._name_at(index)]
        assert parameter is not None  # append and __setitem__ make parameters of everything
        return parameter

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._name_at(index), value if isinstance(value, Parameter) else Parameter(value))

    def append(self, value: Any) -> ParameterList:
        """Add a parameter at the end."""
        self.register_parameter(str(len(self)), value if isinstance(value, Parameter) else Parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Add parameters at the end."""
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        return "\n".join(
            f"({number}): Parameter of {p.dtype.name}, shape {list(p.shape)}, on {p.device}"
            for number, p in enumerate(self)
        )


class ParameterDict(_Keyed[Tensor]):
    """A dictionary of parameters of the module that holds it; keys are their names, plain tensors become parameters."""

    _table = "_parameters"

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self.update(() if parameters is None else parameters)

    def __setitem__(self, key: str, value: Any) -> None:
        self.register_parameter(key, value if isinstance(value, Parameter) else Parameter(value))

    def extra_repr(self) -> str:
        return "\n".join(f"({key}): Parameter of {p.dtype.name}, shape {list(p.shape)}, on {p.device}" for key, p in self.items())
