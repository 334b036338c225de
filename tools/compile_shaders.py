#!/usr/bin/env python3
"""Compile the hand-written kernels in ``shaders/`` and write their manifest.

    tools/compile_shaders.py           compile every .comp file to .spv, and write shaders/manifest.json
    tools/compile_shaders.py --check   only tell whether what is committed matches the sources; exit status 1 if not

Another version of the compiler makes other SPIR-V of the same source; --check then only compares the sources with the manifest.
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


def compiler() -> str:
    """The versions of the compiler's parts, on one line."""
    told = subprocess.run(["glslc", "--version"], capture_output=True, text=True, check=True).stdout
    return "; ".join(" ".join(line.split()) for line in told.splitlines() if line.strip())


def fresh(path: Path) -> bool:
    """Whether the committed manifest of another compiler names exactly the sources there are."""
    entries = json.loads(path.read_text("utf-8"))["kernels"]
    sources = {source.stem: fingerprint(source.read_bytes()) for source in path.parent.glob("*.comp")}
    binaries = {name: fingerprint((path.parent / f"{name}.spv").read_bytes()) for name in entries}
    return sources == {n: e["source"] for n, e in entries.items()} and binaries == {n: e["spirv"] for n, e in entries.items()}


def manifest(binaries: dict[str, bytes], folder: Path = SHADERS) -> str:
    """The compiler, and for each kernel the fingerprints of its source and of its SPIR-V."""
    entries = {
        name: {"source": fingerprint((folder / f"{name}.comp").read_bytes()), "spirv": fingerprint(code)}
        for name, code in sorted(binaries.items())
    }
    return json.dumps({"compiler": compiler(), "flags": list(FLAGS), "kernels": entries}, indent=2) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Compile the kernels in shaders/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something is out of date")
    wish = parser.parse_args(arguments)
    committed = SHADERS / MANIFEST
    if wish.check and committed.exists() and json.loads(committed.read_text("utf-8"))["compiler"] != compiler():
        print("made by another version of the compiler")
        return 0 if fresh(committed) else 1
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
