"""The patch mm-encoder-attention: its declaration, its replacements, its checks."""
