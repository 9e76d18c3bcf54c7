"""The toolkit installed beside its neighbours, and a vLLM that stands in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installation import installed_beside_what_is_here
from support import Environment


@pytest.fixture(scope="session")
def shared_installation(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return installed_beside_what_is_here(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def installed(shared_installation: Environment) -> Iterator[Environment]:
    """An environment with the toolkit and its neighbours; a start hook in it is taken away afterwards."""
    yield shared_installation
    (shared_installation.site_packages / "ascend_patches.pth").unlink(missing_ok=True)
