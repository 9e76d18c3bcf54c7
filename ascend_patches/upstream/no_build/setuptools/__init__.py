"""Stands before the real setuptools while pip downloads an sdist: see ``build_meta``."""
