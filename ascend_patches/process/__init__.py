"""The patches of one process: the import hook, and what became of each patch."""
