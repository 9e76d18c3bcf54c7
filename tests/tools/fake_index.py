"""A package index in a folder: tiny wheels and sdists that pip fetches as it fetches real ones."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


class FakeIndex:
    """The simple API as files, with the hash of every archive, as a real index gives it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    @property
    def url(self) -> str:
        return self.root.as_uri()

    def add_wheel(
        self, name: str, version: str, files: Mapping[str, str], *, record: Mapping[str, str] | None = None
    ) -> Path:
        """A wheel of ``files``; ``record`` gives the contents that its RECORD tells of, where they differ."""
        stem = f"{name.replace('-', '_')}-{version}"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        content = {**files, f"{stem}.dist-info/METADATA": metadata, f"{stem}.dist-info/WHEEL": tags}
        told = {**content, **(record or {})}
        lines = [f"{path},{_record_hash(text)},{len(text)}\n" for path, text in told.items()]
        content[f"{stem}.dist-info/RECORD"] = "".join(lines) + f"{stem}.dist-info/RECORD,,\n"
        wheel = self._folder(name) / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in content.items():
                archive.writestr(path, text)
        self._list(name)
        return wheel

    def add_sdist(self, name: str, version: str, files: Mapping[str, str]) -> Path:
        """An sdist of ``files``, with its metadata."""
        stem = f"{name.replace('-', '_')}-{version}"
        content = {**files, "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"}
        sdist = self._folder(name) / f"{stem}.tar.gz"
        with tarfile.open(sdist, "w:gz") as archive:
            for path, text in content.items():
                member = tarfile.TarInfo(f"{stem}/{path}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        self._list(name)
        return sdist

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return folder

    def _list(self, name: str) -> None:
        links = [
            f'<a href="{archive.name}#sha256={hashlib.sha256(archive.read_bytes()).hexdigest()}">{archive.name}</a>'
            for archive in sorted(self._folder(name).iterdir())
            if archive.name != "index.html"
        ]
        (self._folder(name) / "index.html").write_text("<!DOCTYPE html>" + "\n".join(links))


def _record_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
