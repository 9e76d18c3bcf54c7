"""Finds out which upstream code replacements depend on."""
