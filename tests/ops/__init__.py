"""Tests of tensor operations against PyTorch."""
