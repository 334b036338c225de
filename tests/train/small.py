"""A small training that everything about training is tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import trio

import rasptorch as rt
from rasptorch import data, nn
from rasptorch import functional as F
from rasptorch.train import Accuracy, History, fit, fit_async

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(70, 4)).astype(np.float32)
LABELS = (POINTS[:, 0] * POINTS[:, 1] > 0).astype(np.int64) + (POINTS[:, 2] > 0.5)


def dataset() -> data.TensorDataset:
    return data.TensorDataset(POINTS, LABELS)


def jittered(batch: Any) -> Any:
    return batch + data.batch_random().normal(size=batch.shape).astype(np.float32) * 0.1


def loader(workers: int = 0, **options: Any) -> data.DataLoader:
    """Nine batches, the last of 6, in an order and with a noise of each pass's own."""
    return data.DataLoader(dataset(), 8, shuffle=True, num_workers=workers, transform=jittered, **options)


def model(device: Any) -> nn.Module:
    """With dropout, so that the device's random numbers matter, too."""
    return nn.Sequential(nn.Linear(4, 8, device=device), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3, device=device))


def training(device: Any, workers: int = 0, seed: int | None = None, **options: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of `fit`; everything in them follows from one seed."""
    rt.manual_seed(11)
    net = model(device)
    keywords = {
        "loss_fn": F.cross_entropy,
        "device": device,
        "epochs": 3,
        "val_loader": data.DataLoader(dataset(), 32, shuffle=True),
        "metrics": [Accuracy()],
        "progress": False,
    }
    return (net, rt.optim.Adam(net.parameters(), lr=0.02), loader(workers, seed=seed)), keywords | options


def figures(history: History) -> list[Any]:
    """Everything about the epochs but how long they took."""
    return [{k: v for k, v in epoch.items() if k not in ("seconds", "samples_per_second")} for epoch in history]


def run(mode: str, *arguments: Any, **options: Any) -> History:
    """``fit`` or ``fit_async``."""
    if mode == "script":
        return fit(*arguments, **options)

    async def main() -> History:
        return await fit_async(*arguments, **options)

    return trio.run(main)


def parameters(net: nn.Module) -> list[Any]:
    return [p.detach().numpy().tolist() for p in net.parameters()]
