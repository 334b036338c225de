"""Run a script under the profiler: ``python tools/profile.py [-o trace.json] [--table] script.py [args...]``.

Open the trace in ``chrome://tracing`` or at https://ui.perfetto.dev. The code is in
``rasptorch/profiling.py``.
"""

import os
import sys

# Python puts this file's folder first: `import profile`, which cProfile does, would find this file.
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != _here]
sys.path.append(os.path.dirname(_here))  # a checkout that is not installed

if __name__ == "__main__":
    from rasptorch.profiling import main

    sys.exit(main(sys.argv[1:]))
