"""``python -m numtape``: see `numtape.cli`."""

import sys

from numtape.cli import main

sys.exit(main())
