"""``python -m wetread``, by which launchers of several processes start the command line."""

from wetread.cli import main

main()
