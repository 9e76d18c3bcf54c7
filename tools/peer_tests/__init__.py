"""Other people's tests on the emulated NPU: where they come from, how they are run, and the page of their scores."""
