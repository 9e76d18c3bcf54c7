"""The host's time of one forward of a vision encoder, upstream beside patched, on a device that does nothing."""
