"""Trains a small classifier with PyTorch, saves it in every form, and what it answers.

    python tests/inference/frameworks/train_pytorch.py FOLDER

Imports nothing but PyTorch and NumPy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

MODULE = """
import torch


class Model(torch.nn.Module):
    inputs = {"rows": ("FP32", [-1, 4])}
    outputs = {"odds": ("FP32", [-1, 3]), "class": ("INT64", [-1])}

    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(4, 16)
        self.last = torch.nn.Linear(16, 3)

    def forward(self, rows: torch.Tensor):
        odds = torch.softmax(self.last(torch.relu(self.hidden(rows))), dim=1)
        return odds, odds.argmax(dim=1)
"""


def main(folder: Path) -> None:
    (folder / "classifier.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    from classifier import Model

    torch.manual_seed(3)
    classes = torch.arange(3).repeat_interleave(30)
    rows = torch.eye(4)[classes] * 3 + torch.randn(90, 4)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.nll_loss(torch.log(model(rows)[0] + 1e-9), classes)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        odds, best = model(rows)
    assert (best == classes).float().mean() > 0.8, "it learnt nothing"
    np.savez(folder / "pytorch.npz", rows=rows.numpy(), odds=odds.numpy(), best=best.numpy())
    torch.save(model.state_dict(), folder / "weights.pt")
    torch.save(model, folder / "whole.pt")
    torch.jit.script(model).save(str(folder / "script.pt"))
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(model, (rows[:2],), dynamic_shapes={"rows": {0: batch}})
    torch.export.save(exported, folder / "archive.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
