"""patches.toml and the environment: what the user has set."""
