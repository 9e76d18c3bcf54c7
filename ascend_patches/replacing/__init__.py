"""Functions found, signed, replaced, read back and put back."""
