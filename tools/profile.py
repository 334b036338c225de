"""Run a script under the profiler: ``python tools/profile.py SCRIPT [ARGS...] [-o trace.json] [--html report.html]``.

Open the trace at https://ui.perfetto.dev or in ``chrome://tracing``. The code is in ``rasptorch/profiler/``.
"""

import os
import sys

# Python puts this file's folder first: `import profile`, which cProfile does, would find this file.
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != _here]
sys.path.append(os.path.dirname(_here))  # a checkout that is not installed

if __name__ == "__main__":
    from rasptorch.profiler.command import main

    sys.exit(main(sys.argv[1:], os.path.abspath(__file__)))
