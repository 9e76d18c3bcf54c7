"""What the patches share about NPUs: torch_npu's ops, host sequence lengths, buffers of one encoder call."""
