"""The patch more-encoders: its rows, its declaration, its checks."""
