"""What comes before latent attention (MLA): its rope, and the ops that fuse projections, norms and cache writes."""

from __future__ import annotations

import math
from typing import Any

import torch

from emulated_npu._refusals import HALF_PRECISION, Checks

from ._reference import fake, reference
from .norms import rms_norm
from .paged_cache import used_slots
from .rotary import interleaved_to_halves, rotate_half

LATENT, ROPE = 512, 64

Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def interleaved_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate neighbours against each other; the result has halves, in float32."""
    halves = interleaved_to_halves(x.float())
    return halves * cos.float() + rotate_half(halves) * sin.float()


@reference("npu::npu_interleave_rope")
def interleave_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    checks = Checks("npu_interleave_rope")
    checks.dims(4, x=x, cos=cos, sin=sin)
    checks.dtype(HALF_PRECISION, x=x, cos=cos, sin=sin)
    checks.same_dtype(x=x, cos=cos, sin=sin)
    batch, _, length, size = x.shape
    checks.require(size == ROPE, f"x has size {size} in D; the op takes {ROPE}")
    checks.require(cos.shape == sin.shape, f"cos {list(cos.shape)} and sin {list(sin.shape)} differ")
    checks.require(
        list(cos.shape[:2]) == [batch, 1] and cos.shape[2] in (1, length) and cos.shape[3] == size,
        f"cos and sin {list(cos.shape)} do not fit x {list(x.shape)}: B and D as x, N 1, S 1 or as x",
    )
    return interleaved_rope(x, cos, sin).to(x.dtype)


@fake("npu::npu_interleave_rope")
def interleave_rope_shapes(x: torch.Tensor, **_: Any) -> torch.Tensor:
    return torch.empty_like(x)


CACHE_MODES = ("Norm", "PA", "PA_BNSD", "PA_NZ", "PA_BLK_BNSD", "PA_BLK_NZ")


@reference("npu::npu_kv_rmsnorm_rope_cache")
def kv_rmsnorm_rope_cache(
    kv: torch.Tensor,
    gamma: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    index: torch.Tensor,
    k_cache: torch.Tensor,
    ckv_cache: torch.Tensor,
    k_rope_scale: torch.Tensor | None,
    c_kv_scale: torch.Tensor | None,
    k_rope_offset: torch.Tensor | None,
    c_kv_offset: torch.Tensor | None,
    epsilon: float,
    cache_mode: str,
    is_output_kv: bool,
    v: torch.Tensor | None = None,
) -> Four:
    checks = Checks("npu_kv_rmsnorm_rope_cache")
    quantised = (k_rope_scale, c_kv_scale, k_rope_offset, c_kv_offset)
    checks.emulated(all(part is None for part in quantised), "a quantised cache", "latent_prologue.py")
    checks.emulated(v is None, "v", "latent_prologue.py")
    checks.require(cache_mode in CACHE_MODES, f"cache_mode {cache_mode!r} is none of {', '.join(CACHE_MODES)}")
    checks.require(kv.dim() == 4, f"4D tensor expected for input kv, but got {list(kv.shape)}")
    checks.require(gamma.dim() == 1, f"1D tensor expected for input gamma, but got {list(gamma.shape)}")
    checks.require(cos.dim() == 4, f"4D tensor expected for input cos, but got {list(cos.shape)}")
    checks.dtype(HALF_PRECISION, kv=kv, gamma=gamma, cos=cos, sin=sin, k_cache=k_cache, ckv_cache=ckv_cache)
    checks.same_dtype(kv=kv, gamma=gamma, cos=cos, sin=sin, k_cache=k_cache, ckv_cache=ckv_cache)
    checks.dtype((torch.int64,), index=index)
    batch, heads, length, size = kv.shape
    checks.require(
        heads == 1 and size == LATENT + ROPE, f"kv has shape {list(kv.shape)}; expected [B, 1, S, {LATENT + ROPE}]"
    )
    checks.shape([LATENT], gamma=gamma)
    checks.require(cos.shape == sin.shape, f"cos {list(cos.shape)} and sin {list(sin.shape)} differ")
    checks.require(
        list(cos.shape[:2]) == [batch, 1] and cos.shape[2] in (1, length) and cos.shape[3] == ROPE,
        f"cos and sin {list(cos.shape)} do not fit kv {list(kv.shape)}; expected [B, 1, S, {ROPE}]",
    )
    latent = rms_norm(kv[..., :LATENT], gamma, epsilon)[0].to(kv.dtype)
    rope = interleaved_rope(kv[..., LATENT:], cos, sin).to(kv.dtype)
    _scatter(checks, "k_cache", rope, k_cache, index, cache_mode)
    _scatter(checks, "ckv_cache", latent, ckv_cache, index, cache_mode)
    if not is_output_kv:
        # The op leaves these uninitialised; nothing may be built on them.
        rope, latent = torch.full_like(rope, math.nan), torch.full_like(latent, math.nan)
    return k_cache, ckv_cache, rope, latent


def _scatter(
    checks: Checks, name: str, rows: torch.Tensor, cache: torch.Tensor, index: torch.Tensor, mode: str
) -> None:
    """Write ``rows`` [batch, 1, sequence, size] to where ``index`` says, in one of the cache modes."""
    batch, _, length, size = rows.shape
    checks.dims(4, **{name: cache})
    checks.require(cache.shape[3] == size, f"{name} {list(cache.shape)} has no rows of {size}")
    checks.contiguous(**{name: cache})
    if mode == "Norm":
        checks.shape([batch, length], index=index)
        checks.require(
            list(cache.shape[:2]) == [batch, 1] and bool(((index >= -1) & (index < cache.shape[2])).all()),
            f"index reaches outside {name} {list(cache.shape)}",
        )
        for row in range(batch):
            kept = index[row] >= 0
            cache[row, 0, index[row][kept]] = rows[row, 0, kept]
        return
    block_size = cache.shape[1]
    checks.require(cache.shape[2] == 1, f"{name} {list(cache.shape)} is not [blocks, block size, 1, {size}]")
    slots = index.flatten()
    if "BLK" in mode:
        slots = _slots_of_blocks(checks, slots, batch, length, block_size)
    checks.require(slots.shape[0] == batch * length, f"index has {slots.shape[0]} slots for {batch * length} tokens")
    flat, kept = rows.reshape(batch * length, size), slots >= 0
    used = used_slots(checks, slots, cache)
    if not mode.endswith("NZ"):
        cache.view(-1, size)[used] = flat[kept]
        return
    # FRACTAL_NZ: within a block, columns of 16 come one after the other.
    columns = 16
    blocks = cache.view(cache.shape[0], size // columns, block_size, columns)
    blocks[used // block_size, :, used % block_size] = flat[kept].view(-1, size // columns, columns)


def _slots_of_blocks(checks: Checks, starts: torch.Tensor, batch: int, length: int, block_size: int) -> torch.Tensor:
    """One slot per token, where ``index`` holds the first slot of each block of tokens."""
    per_sequence = -(-length // block_size)
    checks.require(
        starts.shape[0] == batch * per_sequence,
        f"index has {starts.shape[0]} entries; expected one for each of {batch * per_sequence} blocks",
    )
    token = torch.arange(length)
    first = starts.view(batch, per_sequence)[:, token // block_size]
    slots: torch.Tensor = torch.where(first >= 0, first + token % block_size, first).flatten()
    return slots


@fake("npu::npu_kv_rmsnorm_rope_cache")
def kv_rmsnorm_rope_cache_shapes(
    kv: torch.Tensor,
    gamma: torch.Tensor,
    cos: torch.Tensor,
    k_cache: torch.Tensor,
    ckv_cache: torch.Tensor,
    **_: Any,
) -> Four:
    checks = Checks("npu_kv_rmsnorm_rope_cache")
    checks.require(kv.dim() == 4, "4D tensor expected for input kv")
    checks.require(gamma.dim() == 1, "1D tensor expected for input gamma")
    checks.require(cos.dim() == 4, "4D tensor expected for input cos")
    rows = list(kv.shape[:3])
    return (
        torch.empty_like(k_cache),
        torch.empty_like(ckv_cache),
        kv.new_empty([*rows, cos.shape[3]]),
        kv.new_empty([*rows, gamma.shape[0]]),
    )


@reference("npu::npu_mla_prolog")
def mla_prolog(**call: Any) -> Four:
    return _prolog(Checks("npu_mla_prolog"), **call)


@reference("npu::npu_mla_prolog_v2")
def mla_prolog_v2(**call: Any) -> tuple[torch.Tensor, ...]:
    # The fifth result is the scale of a quantised query; without quantisation it holds nothing.
    return (*_prolog(Checks("npu_mla_prolog_v2"), **call), torch.full((1,), math.nan))


def _prolog(
    checks: Checks,
    token_x: torch.Tensor,
    weight_dq: torch.Tensor,
    weight_uq_qr: torch.Tensor,
    weight_uk: torch.Tensor,
    weight_dkv_kr: torch.Tensor,
    rmsnorm_gamma_cq: torch.Tensor,
    rmsnorm_gamma_ckv: torch.Tensor,
    rope_sin: torch.Tensor,
    rope_cos: torch.Tensor,
    cache_index: torch.Tensor,
    kv_cache: torch.Tensor,
    kr_cache: torch.Tensor,
    rmsnorm_epsilon_cq: float,
    rmsnorm_epsilon_ckv: float,
    cache_mode: str,
    **quantisation: torch.Tensor | None,
) -> Four:
    for name, part in quantisation.items():
        checks.emulated(part is None, name, "latent_prologue.py")
    checks.emulated(token_x.dtype != torch.int8, "a quantised token_x", "latent_prologue.py")
    checks.emulated(cache_mode == "PA_BSND", f"cache_mode {cache_mode!r}", "latent_prologue.py")
    checks.dtype((torch.bfloat16,), token_x=token_x, weight_dq=weight_dq, weight_uq_qr=weight_uq_qr)
    checks.dtype((torch.int64,), cache_index=cache_index)
    checks.dims(2, 3, token_x=token_x)
    checks.dims(3, weight_uk=weight_uk)
    checks.contiguous(kv_cache=kv_cache, kr_cache=kr_cache)
    heads, nope, latent_size = weight_uk.shape
    rope_size = rope_cos.shape[-1]
    tokens = token_x.flatten(0, -2)
    checks.shape([tokens.shape[1], latent_size + rope_size], weight_dkv_kr=weight_dkv_kr)
    checks.shape([weight_dq.shape[1], heads * (nope + rope_size)], weight_uq_qr=weight_uq_qr)
    dtype = token_x.dtype
    cos, sin = rope_cos.flatten(0, -2), rope_sin.flatten(0, -2)

    compressed = _product(tokens, weight_dq, dtype)
    compressed = rms_norm(compressed, rmsnorm_gamma_cq, rmsnorm_epsilon_cq)[0].to(dtype)
    query = _product(compressed, weight_uq_qr, dtype).unflatten(1, (heads, nope + rope_size))
    absorbed = torch.einsum("tnd,ndc->tnc", query[..., :nope].float(), weight_uk.float()).to(dtype)
    query_rope = interleaved_rope(query[..., nope:], cos.unsqueeze(1), sin.unsqueeze(1)).to(dtype)

    latent_and_rope = _product(tokens, weight_dkv_kr, dtype)
    latent = rms_norm(latent_and_rope[:, :latent_size], rmsnorm_gamma_ckv, rmsnorm_epsilon_ckv)[0].to(dtype)
    key_rope = interleaved_rope(latent_and_rope[:, latent_size:], cos, sin).to(dtype)
    slots = cache_index.flatten()
    for rows, cache in ((latent, kv_cache), (key_rope, kr_cache)):
        cache.view(-1, cache.shape[-1])[used_slots(checks, slots, cache)] = rows[slots >= 0]
    outer = list(token_x.shape[:-1])
    return (
        absorbed.unflatten(0, outer),
        query_rope.unflatten(0, outer),
        kv_cache,
        kr_cache,
    )


def _product(left: torch.Tensor, right: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (left.float() @ right.float()).to(dtype)


def _prolog_shapes(
    token_x: torch.Tensor,
    weight_uk: torch.Tensor,
    rope_sin: torch.Tensor,
    kv_cache: torch.Tensor,
    kr_cache: torch.Tensor,
    **_: Any,
) -> Four:
    outer = [*token_x.shape[:-1], weight_uk.shape[0]]
    return (
        rope_sin.new_empty([*outer, weight_uk.shape[2]]),
        rope_sin.new_empty([*outer, rope_sin.shape[-1]]),
        torch.empty_like(kv_cache),
        torch.empty_like(kr_cache),
    )


@fake("npu::npu_mla_prolog")
def mla_prolog_shapes(**call: Any) -> Four:
    return _prolog_shapes(**call)


@fake("npu::npu_mla_prolog_v2")
def mla_prolog_v2_shapes(**call: Any) -> tuple[torch.Tensor, ...]:
    return (*_prolog_shapes(**call), call["token_x"].new_empty([1], dtype=torch.float32))
