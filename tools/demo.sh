#!/bin/sh
# Trains a small network on scikit-learn's digits under Trio, on the best device of this machine.
#
#   sh tools/demo.sh [arguments for examples/train_digits_trio.py]
#
# Needs Python >= 3.11 and git; installs the rest (see tools/setup.sh) into .venv and, where it may, by apt.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/tools/setup.sh"

device=auto
if ! ensure_packages libvulkan1 mesa-vulkan-drivers; then
    device=cpu
    say "missing for a gpu device: $MISSING. To have them, run: $(install_command "$MISSING")"
    say "going on with the cpu device (if this machine has a Vulkan driver of its own, add --device gpu)"
fi
make_venv examples

exec "$VENV/bin/python" "$ROOT/examples/train_digits_trio.py" --device "$device" "$@"
