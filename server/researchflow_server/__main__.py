"""`python -m researchflow_server` is `researchflow`."""

import sys

from researchflow_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
