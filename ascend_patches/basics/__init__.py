"""What knows nothing of patches: whole files, modules that are being executed, Python that is being recorded."""
