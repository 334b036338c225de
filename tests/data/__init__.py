"""Datasets, samplers, loaders, readers and transforms."""
