"""`python -m api.demo`: the guided tour."""

import sys

from api.demo import main

if __name__ == "__main__":
    sys.exit(main())
