"""The engine of rasptorch: streams, batches, plans, drivers. Import it as ``rasptorch.runtime``."""

if __name__ != "rasptorch.runtime":
    # The folder lies at the top of the checkout, so `import runtime` would find it and load a second copy of every
    # module: two device tables, two `DType` objects of one name, comparisons that fail for no visible reason.
    raise ImportError(f"the engine was imported as {__name__!r}: write `import rasptorch.runtime` instead")
