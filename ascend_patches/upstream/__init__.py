"""What code is there: versions, distributions, environments, sources, fingerprints."""
