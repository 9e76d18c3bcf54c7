"""Which tests one process gets, where several run them: a release is asked once for all tests of a file."""

from __future__ import annotations

import pytest
from on_releases.pairs_under_test import release_and_file

pytestmark = pytest.mark.upstream


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("test_contract.py::TestADeployment::test_is_undone[vllm-0.18.1]", "test_contract.py vllm-0.18.1"),
        ("test_contract.py::test_a_call[vllm-ascend-0.18.0]", "test_contract.py vllm-ascend-0.18.0"),
        ("test_a.py::test_b[odd-vllm-ascend-0.23.0.post1-x]", "test_a.py vllm-ascend-0.23.0.post1"),
        ("test_a.py::test_b[odd]", "test_a.py "),
        ("test_a.py::test_b", "test_a.py "),
    ],
)
def test_tests_share_a_process_by_file_and_release(nodeid: str, scope: str) -> None:
    assert release_and_file(nodeid) == scope
