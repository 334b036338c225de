"""What training programs use beside layers and optimisers: checkpointing of activations."""

from .checkpoint import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
