"""The module the example patch rewrites."""


class Attention:
    def lengths(self, boundaries):
        """The length of every segment, copied to the host each time."""
        found = []
        for index in range(len(boundaries) - 1):
            found.append(boundaries[index + 1] - boundaries[index])
        return found
