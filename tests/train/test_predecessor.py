"""A program written for the predecessor runs as it stands, on the cpu and on a Vulkan device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

PROGRAM = '''
from rasptorch import Tensor, nn, functional as F
from rasptorch.optim import SGD
from rasptorch.train import fit, Accuracy, classification_target_one_hot

model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).to(DEVICE)
opt = SGD(model.parameters(), lr=0.2, momentum=0.9)
history = fit(model, opt, loader, loss_fn=F.cross_entropy, device=DEVICE, epochs=10, val_loader=val_loader,
              target_transform=classification_target_one_hot(num_classes=10, device=DEVICE), metrics=[Accuracy()])

x = Tensor([[1.0, -2.0], [3.0, 4.0]], requires_grad=True, device=DEVICE)
y = Tensor([[2.0, 2.0], [2.0, 2.0]], device=DEVICE)
w = Tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True, device=DEVICE)
out = (x * y + x).relu() @ w + (2 - x.T) / 3
loss = F.cross_entropy(out, Tensor([[1.0, 0.0], [0.0, 1.0]], device=DEVICE))
loss.backward()
result = out.to("cpu").detach().numpy()
gradients = x.grad.to("cpu").numpy(), w.grad.to("cpu").numpy()
'''


@pytest.mark.drivers("cpu", "lavapipe")
@pytest.mark.parametrize("kind", ["ours", "arrays"])
def test_the_program(kind: str, device: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    import rasptorch as rt
    from rasptorch import data
    from rasptorch.runtime import device as devices

    rt.manual_seed(0)
    if device != "cpu":  # the program says "gpu"
        monkeypatch.setitem(devices._devices, "gpu", rt.device(device))
    ds = data.Digits()
    train, val = data.random_split(ds, [1500, 297])
    flat = data.Compose([lambda images: images.reshape(len(images), -1)])
    loaders: list[Any] = [
        data.DataLoader(part, 50, shuffle=part is train, num_workers=2, seed=1, transform=flat) for part in (train, val)
    ]
    if kind == "arrays":
        loaders = [[(x.numpy(), y.numpy()) for x, y in loader] for loader in loaders]
    names: dict[str, Any] = {"DEVICE": "cpu" if device == "cpu" else "gpu", "loader": loaders[0], "val_loader": loaders[1]}
    exec(compile(PROGRAM, "program", "exec"), names)
    history = names["history"]
    assert len(history) == 10 and history["val_accuracy"][-1] > 0.93 and history["loss"][-1] < 0.2 < history["loss"][0]
    assert capsys.readouterr().out.count("samples/s") == 10
    x = torch.tensor([[1.0, -2.0], [3.0, 4.0]], requires_grad=True)
    w = torch.eye(2, requires_grad=True)
    out = (x * 2 + x).relu() @ w + (2 - x.T) / 3
    torch.nn.functional.cross_entropy(out, torch.eye(2)).backward()
    assert np.allclose(names["result"], out.detach(), atol=1e-6)
    assert np.allclose(names["gradients"][0], x.grad, atol=1e-6) and np.allclose(names["gradients"][1], w.grad, atol=1e-6)
