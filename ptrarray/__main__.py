"""Run the command line as ``python -m ptrarray``."""

import sys

from ptrarray.cli import main

if __name__ == "__main__":
    sys.exit(main())
