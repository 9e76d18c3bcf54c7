"""The patch compile-cache: its declaration, its replacements, its checks."""
