"""The patch mla-kv-overlap: its declaration, its replacements, its checks."""
