"""The `diffir-video` command: parse, call the API, print. A file for each command and for what they share."""

from diffir_video.cli.command_line import main

__all__ = ["main"]
