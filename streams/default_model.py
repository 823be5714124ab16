"""The model that `diffir-stream` restores with unless told otherwise; apart, because --help names it at once."""

# Causal and made for live streams; until there is one, the smallest that is built in.
DEFAULT_MODEL = "denoise-nano"
