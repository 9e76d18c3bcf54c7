"""The ways in: how a process comes to activate the toolkit."""
