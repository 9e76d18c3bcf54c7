"""What a soak does to the patches within a worker: vLLM adds this to the worker's class, by its name."""

from __future__ import annotations


class StormInWorker:
    """Called by collective_rpc, between two steps of the model."""

    def storm(self, what: str, patch: str = "") -> dict[str, str]:
        """Revert all patches, apply them, or quarantine one; returns the state of each."""
        import ascend_patches
        from ascend_patches.starting.this_process import toolkit

        if what == "revert":
            ascend_patches.revert_patches()
        elif what == "apply":
            ascend_patches.apply_patches()
        elif what == "quarantine" and patch in toolkit.patches:
            toolkit.quarantine(patch, "reverted by a soak")
        return {each["name"]: each["state"] for each in ascend_patches.status()["patches"]}
