"""Blocks of vision encoders, whose submodules are called for what they compute."""
