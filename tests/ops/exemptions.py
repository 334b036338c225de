"""What `test_registry.py` does not ask of an operation, each with the reason; what no longer needs one fails there."""

from __future__ import annotations


def _names(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


# Public names that are no computation on tensors given: `variants.py` has nothing to lay out for them.
OUTSIDE = {
    **_names("makes a tensor of shapes, numbers or foreign memory: test_creation.py, test_interop.py", """
        arange as_tensor asarray empty empty_like eye from_dlpack from_numpy frombuffer full full_like linspace logspace new_empty
        new_full new_ones new_tensor new_zeros ones ones_like tensor tril_indices triu_indices zeros zeros_like"""),
    **_names("is random, and has PyTorch's distribution, not its values: test_random.py, test_sampling.py, test_searching.py", """
        Generator bernoulli manual_seed multinomial normal rand rand_like randint randint_like randn randn_like randperm"""),
    **_names("asks about, or sets, what is known without a device: test_kinds.py, test_creation.py", """
        broadcast_shapes can_cast data_ptr finfo get_default_device get_device iinfo is_complex is_floating_point is_signed is_tensor
        ndimension nelement numel promote_types result_type set_default_device storage_offset"""),
    **_names("goes from device to device: test_interop.py", "to_device"),
    **_names("is the operation of that name, awaited: test_searching.py, test_indexing.py", """
        bincount_async nonzero_async unique_async unique_consecutive_async"""),
}  # fmt: skip

# Kinds of variants that PyTorch takes of no case of an operation.
WITHOUT = {
    "broadcast": {
        **_names("takes shapes that fit, and stretches none", """
            bmm diff dot hstack index_add index_copy mm mv reshape_as stack vdot view_as"""),
    },
    "0-d": {
        **_names("needs a dimension", """
            bincount chunk cross cumulative_trapezoid diag diag_embed diff dot flipud index_copy mv narrow outer pad select split
            trapezoid unbind unflatten vdot matmul"""),
        **_names("needs two dimensions", "bmm cdist diagonal fliplr mm rot90 trace tril triu"),
        **_names("is going to be refused by PyTorch, which warns", "T mT"),
    },
}  # fmt: skip

# Where zeros of both signs may be exchanged.
EITHER_ZERO = {
    **_names("zeros of both signs are equal, and which of them is given is nobody's promise", """
        amax amin aminmax clamp clamp_max clamp_min cummax cummin kthvalue max maximum median min minimum scatter_reduce sort topk"""),
    **_names("PyTorch begins some of its sums at +0, this library others", "cumsum index_put logcumsumexp tensordot"),
    **_names("its zeros have the divisor's sign, as in Python and NumPy", "remainder"),
}  # fmt: skip

# Single variants in which this library differs on purpose.
UNLIKE = {
    **dict.fromkeys(
        ("index_add-rows, zero-size for 4", "index_add-rows, zero-size axis 0", "index_add-middle, zero-size for 3",
         "index_add-middle, zero-size axis 1"),
        "an index that is out of range is an error, also where nothing is added",
    ),
    **dict.fromkeys(
        ("trapezoid-dx, special minus infinity", "trapezoid-dx, special both infinities"),
        "PyTorch takes halves of the ends off the sum of all, and has infinity minus infinity",
    ),
    "trapezoid-x, zero-size axis 0": "four places for no values are a mistake",
}  # fmt: skip

# Of `value_cases.py` alone, although PyTorch's result has a gradient.
UNCHECKED = {
    "floor_divide": "PyTorch's has no derivative either, and says so only in backward",
    "to": "rounds, which central differences see: test_kinds.py",
    "type_as": "rounds, which central differences see: test_kinds.py",
}
