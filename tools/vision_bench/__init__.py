"""What a forward of whole vision encoders of released packages costs on the emulated NPU."""
