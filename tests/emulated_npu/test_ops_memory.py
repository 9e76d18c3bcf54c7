from __future__ import annotations

import pytest
import torch

import emulated_npu


@pytest.fixture(scope="module")
def torch_npu():
    emulated_npu.install()
    import torch_npu

    return torch_npu


class TestPrefetch:
    def test_changes_and_returns_nothing(self, torch_npu):
        weight = torch.arange(8.0).npu()
        assert torch_npu.npu_prefetch(weight, None, 32) is None
        assert weight.tolist() == list(range(8))

    def test_is_traced_with_its_weight_its_dependency_and_its_size(self, torch_npu):
        weight, dependency = torch.ones(8).npu(), torch.ones(2).npu()
        with emulated_npu.trace() as trace:
            torch_npu.npu_prefetch(weight, dependency, 16)
        (event,) = trace.events
        assert event.op == "npu::npu_prefetch"
        assert [tensor.shape for tensor in event.inputs] == [(8,), (2,)]
        assert event.detail["arguments"] == {"max_size": 16, "offset": 0}

    def test_more_than_the_tensor_has_is_taken_as_all_of_it(self, torch_npu):
        assert torch_npu.npu_prefetch(torch.ones(2).npu(), None, 10**9) is None

    @pytest.mark.parametrize(
        ("max_size", "offset", "message"),
        [
            (0, 0, "max_size should be greater than zero, but got 0"),
            (-1, 0, "max_size should be greater than zero, but got -1"),
            (4, -1, "offset should not be smaller than zero, but got -1"),
            (4, 32, "offset out of range of tensor size, tensor size: 32, offset: 32"),
        ],
    )
    def test_sizes_outside_the_tensor_are_refused(self, torch_npu, max_size, offset, message):
        with pytest.raises(RuntimeError, match=message):
            torch_npu.npu_prefetch(torch.ones(8).npu(), None, max_size, offset)


class TestFormatCast:
    NZ = 29

    def test_keeps_the_values_and_records_the_format(self, torch_npu):
        weight = torch.arange(6.0).view(2, 3).npu()
        cast = torch_npu.npu_format_cast(weight, self.NZ)
        assert torch.equal(cast.cpu(), weight.cpu())
        assert torch_npu.get_npu_format(cast) == self.NZ

    def test_leaves_its_argument_as_it_was(self, torch_npu):
        weight = torch.ones(2, 3).npu()
        torch_npu.npu_format_cast(weight, self.NZ).zero_()
        assert weight.sum().item() == 6
        assert torch_npu.get_npu_format(weight) == torch_npu.Format.ND

    def test_in_place_returns_its_argument(self, torch_npu):
        weight = torch.ones(2, 3).npu()
        assert torch_npu.npu_format_cast_(weight, self.NZ) is weight
        assert torch_npu.get_npu_format(weight) == self.NZ

    def test_the_format_of_another_tensor_can_be_taken(self, torch_npu):
        like = torch_npu.npu_format_cast(torch.ones(2, 3).npu(), self.NZ)
        assert torch_npu.get_npu_format(torch_npu.npu_format_cast(torch.ones(2).npu(), like)) == self.NZ
        assert torch_npu.get_npu_format(torch_npu.npu_format_cast_(torch.ones(2).npu(), like)) == self.NZ

    def test_views_share_the_format_of_their_memory(self, torch_npu):
        assert torch_npu.get_npu_format(torch_npu.npu_format_cast(torch.ones(2, 3).npu(), self.NZ)[0]) == self.NZ

    @pytest.mark.parametrize(("shape", "name"), [((2,), "ND"), ((2, 3), "ND"), ((1, 2, 3, 4), "NCHW")])
    def test_a_fresh_tensor_has_the_format_of_its_dimensions(self, torch_npu, shape, name):
        assert torch_npu.get_npu_format(torch.ones(shape).npu()).name == name

    def test_an_unknown_format_is_refused(self, torch_npu):
        with pytest.raises(RuntimeError, match="acl_format 1000 is not a format of the device"):
            torch_npu.npu_format_cast(torch.ones(2).npu(), 1000)
