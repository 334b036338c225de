"""`Optimizer`: parameter groups, their options and the state kept for each parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd.mode import enable_grad, no_grad
from ..nn.module import clear_gradients
from ..ops.creation import full as filled
from ..ops.creation import full_like, tensor
from ..ops.transfer import to
from ..ops.update import Update
from ..runtime import dtype as dt
from ..runtime.capture import outside
from ..runtime.device import Device
from ..runtime.errors import RasptorchError
from ..runtime.stream import Stream
from ..tensor import Tensor
from .hooks import Hooked, arguments

Group = dict[str, Any]
COUNTS = ("step", "mu_product")  # state that is one number, on the host or (see `_counts`) a float32 on the device


_one_more = Update("step", lambda write, options, tensors, scalars: (write("add", tensors[0], scalars[0]),))


class OptimizerError(RasptorchError, ValueError):
    """Parameters, groups or a state dictionary that do not fit."""


def check_way(optimizer: Optimizer, differentiable: bool) -> None:
    """PyTorch's ways to compute a step: ``foreach`` and ``fused`` are what every step is here, and change nothing."""
    if differentiable:
        raise NotImplementedError(
            f"{type(optimizer).__name__}: steps are not recorded, so there is no differentiable=True; "
            "write the update with operations on tensors, as p - lr * p.grad, to differentiate through it"
        )


def _plain(option: Any) -> Any:
    """PyTorch may have a learning rate as a 0-d tensor."""
    return float(option) if getattr(option, "shape", None) == () else option


class Optimizer(Hooked):
    """Base of all optimisers. Subclasses define `_update` for one parameter.

    ``params`` is an iterable of tensors, of (name, tensor) pairs, or of dictionaries ``{"params": ..., option: value,
    ...}``, one per group; options that a group leaves out are those of ``defaults``. ``param_groups`` may be changed
    between steps (learning rates, say). State is made at a parameter's first step and follows it when it moves to
    another device or dtype.

    Where PyTorch's optimisers take ``foreach`` and ``fused`` these do, too: steps are always computed like that.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, (Tensor, dict)):
            raise TypeError(
                f"params is an iterable of tensors or of dictionaries, got one {type(params).__name__}"
            )
        super().__init__()
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.stepped = False  # schedules ask whether they are used in the right order
        self._skip: dict[Device, Tensor] = {}  # a `GradScaler`'s: a step where it is not 0 changes nothing
        given = list(params)
        if not given:
            raise OptimizerError(f"{type(self).__name__} got no parameters")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: ``{"params": tensor or iterable of them, option: value, ...}``.

        Raises `TypeError` for what is no such dictionary, `OptimizerError` for options that make no sense and for parameters that are
        not leaves or are in a group already.
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError('a parameter group is a dictionary with an entry "params"')
        given = param_group["params"]
        if isinstance(given, (set, frozenset)):
            raise TypeError("parameters come in an order: use a list, not a set")
        params: list[Any] = [given] if isinstance(given, Tensor) else list(given)
        names: list[str] = []
        if params and isinstance(params[0], tuple):
            names, params = [name for name, _ in params], [p for _, p in params]
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
        if names:
            group["param_names"] = names
        self._check(group)
        self.param_groups.append(group)

    def _check(self, group: Group) -> None:
        """Raise `OptimizerError` for options that make no sense."""
        if isinstance(group.get("lr"), Tensor):
            raise TypeError(
                f"{type(self).__name__}: lr is a number, got a tensor; a new number makes no new plan, and captured steps take it, too"
            )
        for name in ("lr", "weight_decay", "eps", "momentum", "lr_decay", "initial_accumulator_value", "momentum_decay"):
            if name in group and not group[name] >= 0:
                raise OptimizerError(f"{type(self).__name__}: {name} cannot be negative, got {group[name]}")
        if not all(0.0 <= beta < 1.0 for beta in group.get("betas", ())):
            raise OptimizerError(f"{type(self).__name__}: betas are at least 0 and below 1, got {group['betas']}")

    # -- stepping --------------------------------------------------------------------------------------------
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all groups' parameters, or with ``set_to_none=False`` overwrite them with zeros."""
        clear_gradients((p for group in self.param_groups for p in group["params"]), set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, and submit what has been gathered. Waits for nothing.

        ``closure``, if given, is called first, with gradients recorded: it computes loss and gradients anew, and what it returns is
        returned.
        """
        before, after = self._hooks["before a step"], self._hooks["after a step"]
        if not before and not after:
            return self._run(closure)
        args, kwargs = arguments(self, before, (self,), {} if closure is None else {"closure": closure})
        loss = self._run(*args[1:], **kwargs)
        self._call("after a step", args, kwargs)
        return loss

    def _run(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step without its hooks."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            streams = self._step()
        self.stepped = True
        # A step is where a training loop repeats itself: ending the batch here makes every batch the same, so that its plan
        # and its recording are found again.
        for stream in streams.values():
            if stream.capturing is None:
                stream.flush()
        return loss

    def _step(self) -> dict[Device, Stream]:
        """Enqueue the changes of all parameters that have a gradient; gives the streams they went to."""
        streams = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None:
                    state = self.state[parameter]
                    if state:
                        self._follow(parameter, state)
                    self._update(parameter, gradient, group, state)
                    streams[parameter.device] = parameter.device.stream()
        return streams

    def _update(self, parameter: Tensor, gradient: Tensor, group: Group, state: dict[str, Any]) -> None:
        """Enqueue the change of one parameter."""
        raise NotImplementedError(f"{type(self).__name__} does not define _update()")

    @staticmethod
    def _follow(parameter: Tensor, state: dict[str, Any]) -> None:
        """Bring state to where the parameter is now: a model may be moved after the optimiser was made. Waits if it does so."""
        for name, value in state.items():
            if isinstance(value, Tensor):
                dtype = dt.float32 if name in COUNTS else parameter.dtype
                if value.device is not parameter.device or value.dtype is not dtype:
                    state[name] = to(value, device=parameter.device, dtype=dtype)

    @staticmethod
    def _zeros(parameter: Tensor, value: float = 0.0) -> Tensor:
        """State to start with. In a step that is being captured it is made outside of that: replays go on from where it is."""
        with outside(parameter.device.stream()):
            return full_like(parameter.detach(), value)

    def _counts(self, parameter: Tensor, group: Group, state: dict[str, Any]) -> Tensor | None:
        """The step count where it is on the device: if the group is ``capturable``, and once steps may be skipped there."""
        count = state["step"]
        if not isinstance(count, Tensor) and (group.get("capturable") or self._skips(parameter) is not None):
            with outside(parameter.device.stream()):
                count = state["step"] = filled((), float(count), dtype=dt.float32, device=parameter.device)
        return count if isinstance(count, Tensor) else None

    def _counting(self, parameter: Tensor, group: Group, state: dict[str, Any]) -> Callable[[], None]:
        """For optimisers that count steps but compute nothing from it: call what this gives where the step's scalars are made."""
        count = self._counts(parameter, group, state)
        if count is not None:
            _one_more((), (count,), (), lambda: (1.0,), unless=self._skips(parameter))
            return lambda: None

        def one_more() -> None:
            state["step"] += 1

        return one_more

    def _skips(self, parameter: Tensor) -> Tensor | None:
        """The 0-d tensor that says whether this step is to be skipped."""
        return self._skip.get(parameter.device) if self._skip else None

    # -- state -----------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number: {...}}, "param_groups": [{..., "params": [numbers]}]}`` as in PyTorch.

        Parameters are numbered in the order of the groups. State tensors share memory with the optimiser's.
        """
        self._call("before saving")
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                numbers[id(p)] = len(numbers)
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups
        ]
        state = {numbers[id(p)]: dict(values) for p, values in self.state.items() if values}
        return self._passed("after saving", {"state": state, "param_groups": groups})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state, also PyTorch's: tensors are copied to each parameter's device and dtype (counts of steps:
        float32).

        Raises `OptimizerError` when the groups differ in number or size; nothing is changed then.
        """
        state_dict = self._passed("before loading", dict(state_dict))
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
            {**self.defaults, **old, **{key: _plain(value) for key, value in new.items()}, "params": old["params"]}
            for new, old in zip(groups, self.param_groups, strict=True)
        ]
        self._call("after loading")

    def _taken(self, name: str, value: Any, parameter: Tensor) -> Any:
        """One entry of a loaded state: a copy of its own, where the parameter is."""
        if name in COUNTS and not isinstance(value, Tensor):
            return int(value) if name == "step" else float(value)
        if not hasattr(value, "shape"):
            return value
        source = value.detach() if isinstance(value, Tensor) else value
        return tensor(source, dtype=dt.float32 if name in COUNTS else parameter.dtype, device=parameter.device)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {name}: {value}" for name, value in sorted(group.items()) if name != "params"]
        return "\n".join([*lines, ")"])
