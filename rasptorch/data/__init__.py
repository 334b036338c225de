"""Data: datasets, samplers, a loader whose threads work ahead, readers of common files, transforms of whole batches."""

from __future__ import annotations

from .batches import Batches
from .cifar import CIFAR10, CIFAR100, read_cifar
from .collate import default_collate
from .dataset import Collated, ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset, random_split
from .digits import Digits
from .errors import DataError, DataFormatError, DataTimeout
from .idx import MNIST, FashionMNIST, read_idx
from .image_folder import ImageFolder
from .loader import DataLoader
from .randomness import batch_random
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler
from .tables import CSVDataset, read_csv
from .transforms import Compose, Normalize, OneHot, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip, ToFloat

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "BatchSampler",
    "Batches",
    "CSVDataset",
    "Collated",
    "Compose",
    "ConcatDataset",
    "DataError",
    "DataFormatError",
    "DataLoader",
    "DataTimeout",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "IterableDataset",
    "Normalize",
    "OneHot",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomSampler",
    "RandomVerticalFlip",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "TensorDataset",
    "ToFloat",
    "WeightedRandomSampler",
    "batch_random",
    "default_collate",
    "random_split",
    "read_cifar",
    "read_csv",
    "read_idx",
]
