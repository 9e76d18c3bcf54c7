"""An upstream change made into a patch for the release that a team runs."""
