"""``python -m rasptorch info``: what this machine has and what the library makes of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m rasptorch", description="A PyTorch-like library on Vulkan compute."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    about = commands.add_parser("info", help="versions, devices, settings, and what may be wrong with them")
    about.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)

    from . import __version__, info

    sys.stdout.write(info.as_json(__version__) if options.json else info.text(__version__))
    return 0


if __name__ == "__main__":
    sys.exit(main())
