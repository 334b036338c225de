#!/usr/bin/env python3
"""Compile the hand-written kernels in ``shaders/`` and write their manifest.

    tools/compile_shaders.py           compile every .comp file to .spv, and write shaders/manifest.json
    tools/compile_shaders.py --check   only tell whether what is committed matches the sources; exit status 1 if not

Needs glslc (Debian: apt install glslc). Users of the library never do: the SPIR-V is committed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

SHADERS = Path(__file__).resolve().parents[1] / "shaders"
MANIFEST = "manifest.json"
FLAGS = ("-O", "--target-env=vulkan1.2", "-Werror")


def compiled(source: Path) -> bytes:
    """The SPIR-V of a GLSL file. Raises `SystemExit` with the compiler's words when it does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.spv"
        made = subprocess.run(["glslc", *FLAGS, str(source), "-o", str(target)], capture_output=True, text=True)
        if made.returncode:
            raise SystemExit(f"{source.name}: {made.stderr}")
        return target.read_bytes()


def fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest(binaries: dict[str, bytes], folder: Path = SHADERS) -> str:
    """For each kernel the fingerprints of its source and of its SPIR-V."""
    entries = {
        name: {"source": fingerprint((folder / f"{name}.comp").read_bytes()), "spirv": fingerprint(code)}
        for name, code in sorted(binaries.items())
    }
    return json.dumps({"flags": list(FLAGS), "kernels": entries}, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Compile the kernels in shaders/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something is out of date")
    wish = parser.parse_args(arguments)
    binaries = {source.stem: compiled(source) for source in sorted(SHADERS.glob("*.comp"))}
    wanted: dict[Path, bytes] = {SHADERS / f"{name}.spv": code for name, code in binaries.items()}
    wanted[SHADERS / MANIFEST] = manifest(binaries).encode()
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_bytes() != content]
    for path in stale:
        print(f"{'out of date' if wish.check else 'written'}: {path.name}")
        if not wish.check:
            path.write_bytes(wanted[path])
    return 1 if wish.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
