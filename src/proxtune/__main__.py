"""`python -m proxtune`, which imports nothing from the working folder: a `random.py` beside the data is not executed."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # `-m` puts the working folder first

from proxtune.cli import main

main()
