"""The model of `diffir-stream` where no other is named; a module by itself, so that --help needs no torch."""

# Causal and made for live streams.
DEFAULT_MODEL = "denoise-live"
