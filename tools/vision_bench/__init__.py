"""Whole vision encoders of released packages, small, on the emulated NPU; and what a forward of them costs."""
