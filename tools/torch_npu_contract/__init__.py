"""What ``tools/contract_torch_npu`` is made of."""
