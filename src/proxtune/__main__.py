"""`python -m proxtune`."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 (pathlib would be looked for there)
    del sys.path[0]  # `-m` puts the working folder first, and a `random.py` beside the data would be run

from proxtune.cli import main

main()
