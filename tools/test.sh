#!/bin/sh
# Runs ruff, mypy and the tests, the tests under the Vulkan validation layers with synchronisation validation.
#
#   sh tools/test.sh [arguments for pytest]        without arguments: everything but the tests marked slow
#   sh tools/test.sh -m slow                       only the slow ones
#
# Needs Python >= 3.11 and git; installs the rest (see tools/setup.sh) into .venv and by apt. The exit status is
# pytest's, or 1 where pytest passed and ruff, mypy or the validation layers did not.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$ROOT/tools/setup.sh"

ensure_packages libvulkan1 mesa-vulkan-drivers vulkan-validationlayers chromium-common chromium spirv-tools ||
    fail "the tests cannot run without these packages: $MISSING. Run: $(install_command "$MISSING")"
make_venv dev

cd "$ROOT"
python=$VENV/bin/python
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

failed=
say "ruff check"
"$python" -m ruff check . || failed="$failed, ruff"
say "mypy"
"$python" -m mypy || failed="$failed, mypy"

# Layers up to 1.3.2xx (Debian 12) read the first spelling of "synchronisation validation on", later ones the second.
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
export VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
export VK_KHRONOS_VALIDATION_VALIDATE_SYNC=true

# The Vulkan loader passes over a layer that it does not find; the tests would then pass without being checked.
"$python" - <<'PYTHON' || fail "the Vulkan loader does not find the validation layers that are installed"
import vulkan

names = [layer.layerName for layer in vulkan.vkEnumerateInstanceLayerProperties()]
raise SystemExit("VK_LAYER_KHRONOS_validation" not in names)
PYTHON

# Two processes, where there are two cores: each takes up to 4 GB for the largest tensors, so not more. A file's tests stay together.
workers=2
[ "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -ge 2 ] || workers=1

# A pipe has the status of its last command only, so pytest's goes through a file. A -m among the arguments comes
# later than ours and wins. tee -i outlives Ctrl-C, so that pytest's last lines are still shown.
say "pytest under the validation layers"
{
    pytest_status=0
    "$python" -m pytest -m "not slow" -n "$workers" --dist loadfile "$@" || pytest_status=$?
    echo "$pytest_status" >"$scratch/status"
} 2>&1 | tee -i "$scratch/log" || fail "the log of the tests could not be written to $scratch"
[ -s "$scratch/status" ] || fail "pytest was killed before it could tell its exit status"
status=$(cat "$scratch/status")

if grep -qE 'SYNC-HAZARD|Validation Error' "$scratch/log"; then
    failed="$failed, the validation layers (search the output above for SYNC-HAZARD and Validation Error)"
fi
if [ -n "$failed" ]; then
    printf '%s: failed: %s\n' "${0##*/}" "${failed#, }" >&2
    [ "$status" -ne 0 ] && [ "$status" -ne 5 ] || status=1
fi
exit "$status"
