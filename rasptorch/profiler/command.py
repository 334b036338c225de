"""``tools/profile.py``: run any script, and record what the engine does meanwhile."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Sequence
from types import CodeType, ModuleType, TracebackType

from .recording import profile

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_USAGE = "profile.py [-o FILE] [--html FILE] [--device NAME] [...] SCRIPT [ARGS...] [-o FILE] [--html FILE]"


def main(arguments: Sequence[str], tool: str = "") -> int:
    """Run a script under the profiler; its exit status is ours. ``tool`` is the file that people call, left out of tracebacks.

    The recording ends when the script and the threads it started (but for daemons) have ended, also by an error or Ctrl-C.
    """
    options, words = parse(arguments)
    import trio  # noqa: F401  # so that runs of Trio are seen, whenever the script imports it

    recorded = profile(options.output, options.device, timestamps=not options.no_timestamps, commands=not options.no_commands)
    shown = sys.excepthook
    sys.excepthook = lambda kind, problem, at: shown(kind, problem.with_traceback(_of_script(at, tool)), _of_script(at, tool))
    try:
        with recorded:
            return _run(options.script, words)
    finally:
        _tell(recorded, options)


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options and the script's arguments.

    In front of the script everything is ours. Behind it, ``-o`` and ``--html`` are ours, too, up to a ``--``; all the rest is the
    script's.
    """
    outputs = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    outputs.add_argument("-o", "--output", metavar="FILE", help="where to write the trace (default: trace.json)")
    outputs.add_argument("--html", metavar="FILE", help="write a page that shows the recording in a browser, too")
    parser = argparse.ArgumentParser(
        "profile.py", usage=_USAGE, parents=[outputs], description="Run a script and record what the engine does.",
        epilog="-o and --html may also stand behind the script's arguments; what follows a -- there is the script's in any case.",
    )  # fmt: skip
    parser.add_argument("--device", action="append", metavar="NAME", help="watch this device only (may be repeated; default: all)")
    parser.add_argument("--no-timestamps", action="store_true", help="do not measure single kernels")
    parser.add_argument("--no-commands", action="store_true", help="do not record single operations")
    parser.add_argument("--no-table", action="store_true", help="do not print the totals to standard error")
    parser.add_argument("--rows", type=int, default=20, help="rows of each table (default: 20)")
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS")
    given = list(arguments)
    at = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:at])
    found, words = outputs.parse_known_args(options.args)
    options.output = found.output or options.output or "trace.json"
    options.html = found.html or options.html
    return options, [*words, *given[at + 1 :]]


def _run(script: str, arguments: Sequence[str]) -> int:
    """Run it as Python would: as the module ``__main__``, with its folder first on the path."""
    path = os.path.abspath(script)
    with open(path, "rb") as source:
        code: CodeType = compile(source.read(), path, "exec", dont_inherit=True)
    module = ModuleType("__main__")
    module.__dict__.update(__file__=path, __cached__=None)
    sys.modules["__main__"] = module
    sys.argv = [script, *arguments]
    sys.path.insert(0, os.path.dirname(path))
    try:
        exec(code, module.__dict__)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
            return 1
        return leaving.code or 0
    finally:
        for thread in threading.enumerate():
            if not thread.daemon and thread not in (threading.main_thread(), threading.current_thread()):
                thread.join()
    return 0


def _of_script(at: TracebackType | None, tool: str) -> TracebackType | None:
    """The traceback from where the script's own frames begin; all of it where there are none."""
    found = at
    while found is not None:
        name = found.tb_frame.f_code.co_filename
        if not os.path.abspath(name).startswith(_OURS) and os.path.abspath(name) != tool:
            return found
        found = found.tb_next
    return at


def _tell(recorded: profile, options: argparse.Namespace) -> None:
    """What was written where, and the totals, on standard error: standard output is the script's."""
    if not recorded.seconds:
        return  # the script could not even be read
    sys.stdout.flush()
    if options.html:
        recorded.save_html(options.html, os.path.basename(options.script))
    if not options.no_table:
        print(f"\n{recorded.table(options.rows)}\n", file=sys.stderr)
    print(f"trace written to {options.output}: open it at https://ui.perfetto.dev", file=sys.stderr)
    if options.html:
        print(f"page written to {options.html}", file=sys.stderr)
