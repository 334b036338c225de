# shellcheck shell=sh
# Functions that tools/demo.sh and tools/test.sh share. POSIX sh, to be sourced after setting ROOT to the checkout.
#
#   ensure_packages NAME...   install by apt what is missing; 1 (with MISSING set) where that is not possible
#   make_venv EXTRA           make or refresh the virtual environment in VENV with rasptorch[EXTRA], editable
#
# RASPTORCH_VENV names another folder for the virtual environment than .venv beside pyproject.toml.

OLDEST_MINOR=11 # of Python 3; the same as requires-python in pyproject.toml, held by tests/project/test_scripts.py

say() {
    printf '%s: %s\n' "${0##*/}" "$*"
}

fail() {
    printf '%s: error: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# --- Python -------------------------------------------------------------------------------------------------------

# Prints "3.12" for a working interpreter. A name on PATH proves nothing: version managers leave shims that only fail.
python_version() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

version_is_supported() {
    case $1 in
        3.*) [ "${1#3.}" -ge "$OLDEST_MINOR" ] 2>/dev/null ;;
        *) return 1 ;;
    esac
}

# Sets PYTHON to the first interpreter that is new enough, or fails naming those that were looked at.
find_python() {
    seen=
    for candidate in python3 python3.11 python3.12 python3.13; do
        version=$(python_version "$candidate") || version=
        if version_is_supported "$version"; then
            PYTHON=$candidate
            PYTHON_VERSION=$version
            return 0
        fi
        seen="$seen $candidate (${version:-not found})"
    done
    fail "Python 3.$OLDEST_MINOR or newer is needed. Looked at:$seen." \
        "Install one (on Debian 12 or later: apt-get install python3) and run this again."
}

# --- Debian packages ----------------------------------------------------------------------------------------------

package_reason() {
    case $1 in
        libvulkan1) echo "the Vulkan loader, through which the gpu device is opened" ;;
        mesa-vulkan-drivers) echo "Vulkan drivers: V3DV on a Raspberry Pi, a software one where there is no GPU" ;;
        vulkan-validationlayers) echo "the validation layers, which check every Vulkan call and barrier of the tests" ;;
        chromium) echo "a browser without a screen, in which the page of the profiler is opened" ;;
        chromium-common) echo "SwiftShader, a second independent Vulkan driver to test on" ;;
        spirv-tools) echo "spirv-val, which checks every shader that is generated" ;;
        python3*-venv) echo "the venv module, to install Python packages without touching the system's" ;;
        *) fail "tools/setup.sh has no reason written down for the package $1" ;;
    esac
}

package_is_installed() {
    status=$(dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null) || return 1
    case $status in
        installed*) return 0 ;;
        *) return 1 ;;
    esac
}

# Sets AS_ROOT to what has to stand before a command that needs root; 1 where there is no right to install.
may_install() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" -eq 0 ]; then
        AS_ROOT=
    elif sudo -n true 2>/dev/null; then
        AS_ROOT="sudo -n"
    else
        return 1
    fi
}

# The lock timeout is for a machine that is just running its own upgrades.
apt_get() {
    # shellcheck disable=SC2086  # AS_ROOT is empty or two words
    $AS_ROOT env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" </dev/null
}

install_command() {
    echo "sudo apt-get install --no-install-recommends $*"
}

ensure_packages() {
    MISSING=
    for package in "$@"; do
        package_is_installed "$package" || MISSING="$MISSING $package"
    done
    MISSING=${MISSING# }
    [ -n "$MISSING" ] || return 0
    if ! may_install; then
        say "no right to install packages here (neither root nor passwordless sudo with apt)"
        return 1
    fi
    for package in $MISSING; do
        reason=$(package_reason "$package") || exit 1
        say "installing $package by apt: $reason"
    done
    # An unreachable third-party source must not stop us: whether the packages can be had is for the next line to say.
    apt_get update || say "apt-get update failed, going on with the package lists that are there"
    # shellcheck disable=SC2086  # a list of names
    apt_get install -y --no-install-recommends $MISSING || return 1
    MISSING=
}

# --- virtual environment ------------------------------------------------------------------------------------------

# Debian ships "import venv" without the ensurepip that it needs, in a package of its own for each Python version.
ensure_venv_module() {
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null && return 0
    case $PYTHON in
        python3) package=python3-venv ;;
        *) package=$PYTHON-venv ;;
    esac
    ensure_packages "$package" || fail "$PYTHON has no venv module. Run: $(install_command "$package")"
    "$PYTHON" -c 'import ensurepip, venv' ||
        fail "$PYTHON ($PYTHON_VERSION) has no venv module although $package is installed: is it Debian's own Python?"
}

venv_works() {
    version_is_supported "$(python_version "$VENV/bin/python")" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1
}

# The stamp is written first, so that an environment whose making was interrupted is known as ours and made anew,
# while a folder that we did not make is never emptied.
create_venv() {
    find_python
    ensure_venv_module
    if [ -e "$STAMP" ]; then
        say "making the virtual environment in $VENV anew: the one there does not work"
    elif [ -d "$VENV" ] && [ -n "$(ls -A "$VENV")" ]; then
        fail "$VENV is not a virtual environment with pip and Python 3.$OLDEST_MINOR or newer, and not made by this" \
            "script. Delete it, or name another folder in RASPTORCH_VENV."
    else
        say "making a virtual environment in $VENV with $PYTHON ($PYTHON_VERSION)"
    fi
    mkdir -p "$VENV"
    : >"$STAMP"
    find "$VENV/." ! -name . -prune ! -name "${STAMP##*/}" -exec rm -rf {} +
    "$PYTHON" -m venv "$VENV" || fail "$PYTHON -m venv $VENV failed"
}

extra_reason() {
    case $1 in
        examples) echo "what the examples need: scikit-learn for its digits, tqdm for the progress bar" ;;
        dev) echo "what the tests need: pytest, hypothesis, PyTorch as an oracle, ruff, mypy" ;;
        *) fail "tools/setup.sh has no reason written down for the extra $1" ;;
    esac
}

# The stamp holds a checksum of everything the installation follows from, then one line for each extra installed.
fingerprint() {
    { cat "$ROOT/pyproject.toml" && printf '%s\n' "$ROOT" && "$VENV/bin/python" -VV; } | cksum
}

stamp_is_current() {
    [ -s "$STAMP" ] && [ "$(head -n 1 "$STAMP")" = "$1" ]
}

install_project() {
    checksum=$(fingerprint)
    if stamp_is_current "$checksum" && grep -qx "$1" "$STAMP"; then
        say "the virtual environment in $VENV is up to date"
        return 0
    fi
    reason=$(extra_reason "$1") || exit 1
    say "installing rasptorch[$1] by pip, editable: $reason"
    "$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off --prefer-binary \
        -e "$ROOT[$1]" || fail "pip could not install rasptorch[$1]; its own message stands above"
    stamp_is_current "$checksum" || printf '%s\n' "$checksum" >"$STAMP"
    printf '%s\n' "$1" >>"$STAMP"
}

make_venv() {
    case ${RASPTORCH_VENV:-} in
        '') VENV=$ROOT/.venv ;;
        /*) VENV=$RASPTORCH_VENV ;;
        *) VENV=$PWD/$RASPTORCH_VENV ;;
    esac
    STAMP=$VENV/.rasptorch-setup
    venv_works || create_venv
    install_project "$1"
}
