"""`python -m proxtune`."""

from proxtune.cli import main

main()
