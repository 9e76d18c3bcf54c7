"""Decode steps of multi-head latent attention, on any release: made, run, and written down in the device's order."""
