"""Shadow runs: a share of the calls of a replaced function runs the original too, and what both say is compared."""
