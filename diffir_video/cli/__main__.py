"""`python -m diffir_video.cli` is the `diffir-video` command."""

from __future__ import annotations

import sys

from diffir_video.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
