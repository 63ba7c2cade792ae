"""A network of 784–50–10 units learns to read digits, in plain PyTorch; the optimizer is one line.

    python examples/mnist_torch.py FOLDER

FOLDER holds the four files of MNIST (LeCun, Bottou, Bengio & Haffner, 1998), train-images-idx3-ubyte.gz and so on.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import optiscope as osc
from optiscope.frameworks.torch import Optimizer

EPOCHS, BATCH = 2, 64


def idx(path: Path) -> torch.Tensor:
    """An IDX file: two zero bytes, the type (8, unsigned bytes), the number of axes, their lengths, the numbers."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return torch.tensor(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape))


def digits(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, shape (n, 784), from 0 to 1; and labels, shape (n,)."""
    images, labels = idx(folder / f"{part}-images-idx3-ubyte.gz"), idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return images.flatten(1) / 255, labels.long()


def main(folder: Path) -> float:
    """Train, and return the share of the test images that are read correctly."""
    torch.manual_seed(0)
    images, labels = digits(folder, "train")
    test_images, test_labels = digits(folder, "t10k")
    model = nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
    steps = EPOCHS * -(-len(images) // BATCH)

    optimizer = Optimizer(model.parameters(), osc.AdamW(lr=1e-2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)

    right = 0.0
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        right = (model(test_images).argmax(1) == test_labels).float().mean().item()
        print(f"epoch {epoch + 1}: {right:.2%} of the test images read correctly")
    return right


if __name__ == "__main__":
    main(Path(sys.argv[1]))
