"""The patch qwen3-vl-vision: its declaration, its replacements, its checks."""
