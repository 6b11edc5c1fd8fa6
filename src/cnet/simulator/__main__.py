"""`python -m cnet.simulator`: see `main`."""

import sys

from cnet.simulator.main import main

sys.exit(main())
