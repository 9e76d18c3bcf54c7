"""The language of declarations: patches, variants, rewrites, gates."""
