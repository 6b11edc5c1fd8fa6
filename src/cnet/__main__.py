"""`python -m cnet` is the `cnet` command."""

import sys

from cnet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
