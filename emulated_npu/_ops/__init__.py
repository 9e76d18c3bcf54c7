"""The torch_npu ops: one file per family, each a plain reference implementation that refuses what the op refuses."""
