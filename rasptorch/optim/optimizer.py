"""`Optimizer`: parameter groups, their options and the state kept for each parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd.mode import enable_grad
from ..nn.module import clear_gradients
from ..ops.creation import tensor, zeros_like
from ..runtime.capture import outside
from ..runtime.errors import RasptorchError
from ..tensor import Tensor

Group = dict[str, Any]


class OptimizerError(RasptorchError, ValueError):
    """Parameters, groups or a state dictionary that do not fit."""


class Optimizer:
    """Base of all optimisers. Subclasses define `_update` for one parameter.

    ``params`` is an iterable of tensors, or of dictionaries ``{"params": ..., option: value, ...}``, one per
    group; options that a group leaves out are those of ``defaults``. ``param_groups`` may be changed between
    steps (learning rates, say).
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, dict)):
            raise TypeError(
                f"params is an iterable of tensors or of dictionaries, got one {type(params).__name__}"
            )
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        given = list(params)
        if not given:
            raise OptimizerError(f"{type(self).__name__} got no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: ``{"params": tensor or iterable of them, option: value, ...}``."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError('a parameter group is a dictionary with an entry "params"')
        given = param_group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError("parameters come in an order: use a list, not a set")
        params = [given] if isinstance(given, Tensor) else list(given)
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimisers change tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise OptimizerError("only leaves can be optimised; this tensor was computed from others")
            if id(p) in known:
                raise OptimizerError(f"a parameter (shape {list(p.shape)}) is given more than once")
            known.add(id(p))
        group = {**self.defaults, **param_group, "params": params}
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: Group) -> None:
        """Raise `OptimizerError` for options that make no sense."""
        for name in ("lr", "weight_decay", "eps", "momentum"):
            if name in group and not group[name] >= 0:
                raise OptimizerError(f"{type(self).__name__}: {name} cannot be negative, got {group[name]}")

    # -- stepping --------------------------------------------------------------------------------------------
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop every gradient, or with ``set_to_none=False`` overwrite it with zeros."""
        clear_gradients((p for group in self.param_groups for p in group["params"]), set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, and submit what has been gathered.

        ``closure``, if given, computes loss and gradients anew; what it returns is returned.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        streams = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None:
                    self._update(parameter, gradient, group, self.state[parameter])
                    streams[parameter.device] = parameter.device.stream()
        # A step is where a training loop repeats itself: ending the batch here makes every batch the same, so that its plan
        # and its recording are found again.
        for stream in streams.values():
            if stream.capturing is None:
                stream.flush()
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        """Enqueue the change of one parameter."""
        raise NotImplementedError(f"{type(self).__name__} does not define _update()")

    @staticmethod
    def _zeros(parameter: Tensor) -> Tensor:
        """State to start with. In a step that is being captured it is made outside of that: replays go on from where it is."""
        with outside(parameter.device.stream()):
            return zeros_like(parameter.detach())

    # -- state -----------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {...}}, "param_groups": [{..., "params": [numbers]}]}`` as in PyTorch.

        Parameters are numbered in the order of the groups. State tensors share memory with the optimiser's.
        """
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                numbers[id(p)] = len(numbers)
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups
        ]
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items() if values}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state, also PyTorch's: tensors are copied to each parameter's device and
        dtype.

        Raises `OptimizerError` when the groups differ in number or size; nothing is changed then.
        """
        groups = state_dict["param_groups"]
        if len(groups) != len(self.param_groups):
            raise OptimizerError(
                f"load_state_dict: {len(groups)} parameter groups, the optimiser has {len(self.param_groups)}"
            )
        for number, (new, old) in enumerate(zip(groups, self.param_groups, strict=True)):
            if len(new["params"]) != len(old["params"]):
                raise OptimizerError(
                    f"load_state_dict: group {number} has {len(new['params'])} parameters, "
                    f"the optimiser's {len(old['params'])}"
                )
        named = {
            key: p
            for new, old in zip(groups, self.param_groups, strict=True)
            for key, p in zip(new["params"], old["params"], strict=True)
        }
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for key, values in state_dict["state"].items():
            if key in named:
                state[named[key]] = {
                    name: self._taken(name, value, named[key]) for name, value in values.items()
                }
        self.state = state
        self.param_groups = [
            {**self.defaults, **new, "params": old["params"]}
            for new, old in zip(groups, self.param_groups, strict=True)
        ]

    def _taken(self, name: str, value: Any, parameter: Tensor) -> Any:
        """One entry of a loaded state: a copy of its own, where the parameter is."""
        if name == "step":
            return int(value)
        if not hasattr(value, "shape"):
            return value
        source = value.detach() if isinstance(value, Tensor) else value
        return tensor(source, dtype=parameter.dtype, device=parameter.device)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {value}" for name, value in sorted(group.items()) if name != "params"]
        return "\n".join([*lines, ")"])
