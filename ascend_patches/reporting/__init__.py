"""What a process tells about its patches: reports, metrics, last words."""
