"""`python -m bench.overload`."""

import sys

from bench.overload.run import main

if __name__ == "__main__":
    sys.exit(main())
