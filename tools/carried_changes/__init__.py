"""Verdicts of upstream's fixes on the stable releases."""
