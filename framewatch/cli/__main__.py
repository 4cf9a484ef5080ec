"""`python -m framewatch.cli`, for machines where the `framewatch` script is not on the PATH."""

import sys

from framewatch.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
