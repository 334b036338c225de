"""A real browser, without a screen: Debian's chromium, each time with a new and empty profile."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip


def browser(folder: Path, page: Path, *options: str, dark: bool = False, width: int = 1280, height: int = 1000) -> str:
    """Open ``page``; what ``options`` ask for on standard output: ``--dump-dom``, ``--screenshot=FILE``. ``folder`` is for its profile.

    Windows are at least 500 pixels wide: for less, put the page into an ``iframe``.
    """
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert program is not None, "no browser to open pages with: apt install chromium (tools/test.sh does it)"
    profile = folder / f"browser{len(list(folder.glob('browser*')))}"
    themes = ["--force-dark-mode"] if dark else []
    command = [program, *QUIET, *themes, f"--user-data-dir={profile}", f"--window-size={width},{height}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout
