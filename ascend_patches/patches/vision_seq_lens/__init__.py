"""The patch vision-seq-lens: its declaration, its replacements, its checks."""
