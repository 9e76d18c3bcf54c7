"""Every error these tools raise on purpose, each a sentence for the person who reads it."""

from __future__ import annotations


class ReleasesError(Exception):
    """Base of every error below."""


class UnknownPairError(ReleasesError):
    """No supported pair has that name."""


class DownloadError(ReleasesError):
    """pip could not bring a distribution."""


class CorruptDistributionError(ReleasesError):
    """An archive, or what was unpacked from it, is not what it says it is."""


class CacheError(ReleasesError):
    """The cache folder cannot be read or written."""


class NotFetchedError(ReleasesError):
    """A distribution that a pair needs is not in the cache."""


class CannotRunError(ReleasesError):
    """A command cannot be run on a pair here."""
