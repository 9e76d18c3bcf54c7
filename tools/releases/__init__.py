"""Released vLLM and vllm-ascend on this machine: which pairs there are, fetching them, running on one of them."""
