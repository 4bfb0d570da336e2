"""`python -m halflife.cli`."""

from __future__ import annotations

import sys

from halflife.cli import main

sys.exit(main())
