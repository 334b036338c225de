"""What `test_registry.py` does not ask of an operation, each with the reason; what no longer needs one fails there."""

from __future__ import annotations


def _names(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


# Public names that are no computation on tensors given: `variants.py` has nothing to lay out for them.
OUTSIDE = {
    **_names("makes a tensor of shapes, numbers or foreign memory: test_creation.py, test_interop.py", """
        arange as_tensor asarray empty empty_like eye from_dlpack from_numpy frombuffer full full_like linspace logspace
        ones ones_like tensor tril_indices triu_indices zeros zeros_like"""),
    **_names("is random, and has PyTorch's distribution, not its values: test_random.py, test_sampling.py, test_searching.py", """
        Generator bernoulli manual_seed multinomial normal rand rand_like randint randint_like randn randn_like randperm"""),
    **_names("asks about, or sets, what is known without a device: test_kinds.py, test_creation.py", """
        broadcast_shapes can_cast finfo get_default_device iinfo is_complex is_floating_point is_signed is_tensor
        is_nonzero numel promote_types result_type set_default_device"""),
    **_names("is another name of cat, trapezoid or vstack: test_joining.py, test_running.py", "concat concatenate row_stack trapz"),
    **_names("is the operation of that name, awaited: test_searching.py, test_indexing.py", """
        bincount_async nonzero_async unique_async unique_consecutive_async"""),
}  # fmt: skip

# Kinds of variants that PyTorch takes of no case of an operation.
WITHOUT = {
    "broadcast": {
        **_names("takes shapes that fit, and stretches none", """
            diagonal_scatter dot dstack reshape_as slice_scatter stack vdot view_as"""),
    },
    "stretched": _names("sees memory, of which a stretched tensor has too little", "as_strided"),
    "zero-size": {
        **_names("sees memory, of which there is none", "as_strided"),
        **_names("has nothing to choose from", "nanquantile quantile"),
        **_names("takes no dimension away in any case: test_joining.py", "atleast_1d slice_scatter"),
    },
    "0-d": {
        **_names("needs a dimension", """
            bincount chunk cross cumulative_trapezoid diag diag_embed diff dot flipud matmul mv narrow outer pad select
            select_scatter slice_scatter split split_with_sizes tensor_split trapezoid unbind unflatten vdot hsplit"""),
        **_names("takes an argument that fits several dimensions or elements in every case", """
            as_strided atleast_3d cartesian_prod combinations nanquantile sum_to_size"""),
        **_names("needs two dimensions", "bmm cdist diagonal diagonal_scatter dsplit fliplr mm rot90 trace tril triu vsplit"),
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
        ("index_add-of any rank, zero-size axis 0", "index_add-rows, zero-size for 4", "index_add-rows, zero-size axis 0",
         "index_add-middle, zero-size for 3", "index_add-middle, zero-size axis 1"),
        "an index that is out of range is an error, also where nothing is added",
    ),
    **dict.fromkeys(
        ("as_strided-apart, strided ", "as_strided-overlapping, strided ", "as_strided-of a part, strided ",
         "as_strided-of an expanded one, strided ", "as_strided-one, strided "),
        "sees memory rather than elements, and that is another one here: test_striding.py",
    ),
    "mode, special NaN": "how often NaN, which equals nothing, occurs in PyTorch depends on its way of sorting",
    "trapezoid-dx, special minus infinity": "PyTorch takes halves of the ends off the sum of all, and has infinity minus infinity",
    **dict.fromkeys(
        ("trapezoid-x, zero-size axis 0", "trapezoid-of any rank, zero-size axis 1"),
        "several places for no values are a mistake",
    ),
}  # fmt: skip

# Of `value_cases.py` alone, although PyTorch's result has a gradient.
UNCHECKED = {
    "floor_divide": "PyTorch's has no derivative either, and says so only in backward",
    "to": "rounds, which central differences see: test_kinds.py",
    "unique": "PyTorch's has no derivative either, and says so only in backward",
    "unique_consecutive": "PyTorch's has no derivative either, and says so only in backward",
}
