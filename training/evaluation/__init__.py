"""What `training.evaluate` is made of: clips and their damage, FFmpeg's filters, priors, the report."""
