"""Real vLLM engines, each in processes of its own, and what is asked of them: for tools/demo and tools/soak."""
