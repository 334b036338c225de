"""Hand-written kernels and their SPIR-V. Import it as ``rasptorch.shaders``."""
