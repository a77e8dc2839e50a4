"""`make demo`."""

import sys

from skydiver.lab.demo import main

if __name__ == "__main__":
    sys.exit(main())
