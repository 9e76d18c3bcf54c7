"""The patch mla-multistream: its declaration, its replacements, its checks."""
