"""Which variant of a patch fits the code that is there, if any."""
