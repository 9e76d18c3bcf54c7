"""The patch rotary-embedding: its declaration, its replacements, its checks."""
