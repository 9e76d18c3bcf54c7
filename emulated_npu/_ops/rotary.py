"""Rotary position embeddings: npu_rotary_mul, npu_apply_rotary_pos_emb, _npu_rotary_embedding, npu_mrope."""

from __future__ import annotations

import torch

from emulated_npu import _accounting, _schemas
from emulated_npu._refusals import FLOATING, HALF_PRECISION, Checks

from ._reference import fake, reference
from ._state import STATE

FIRST_WITH_3D = "2.9.0"
"""The release whose documentation takes three-dimensional (TND) input for npu_rotary_mul."""

FIRST_WITH_CHECKED_MROPE_MODE = "2.11.0"
"""From here on npu_mrope refuses every mode but "half" and "interleave" - also "interleaved", which its documentation
names. Before, whatever is not "half" is taken as interleaved."""

Pair = tuple[torch.Tensor, torch.Tensor]


def rotate_half(tensor: torch.Tensor) -> torch.Tensor:
    first, second = tensor.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def rotate_pairs(tensor: torch.Tensor) -> torch.Tensor:
    return torch.stack([-tensor[..., 1::2], tensor[..., ::2]], dim=-1).flatten(-2)


def interleaved_to_halves(tensor: torch.Tensor) -> torch.Tensor:
    """[x0, y0, x1, y1, ...] as [x0, x1, ..., y0, y1, ...]."""
    return torch.cat([tensor[..., ::2], tensor[..., 1::2]], dim=-1)


def _report_casts(result: torch.Tensor, input: torch.Tensor, r1: torch.Tensor, r2: torch.Tensor, **_: object) -> None:
    """cos and sin of another dtype are cast before (op-plugin, RotaryMulKernelNpuOpApi.cpp)."""
    if STATE.place == "npu":
        for name, table in (("r1", r1), ("r2", r2)):
            if table.dtype != input.dtype:
                _accounting.hidden(f"npu::npu_rotary_mul {name}", ["Cast"])


@reference("npu::npu_rotary_mul", after=_report_casts)
def rotary_mul(
    input: torch.Tensor,
    r1: torch.Tensor,
    r2: torch.Tensor,
    rotary_mode: str,
    rotate: torch.Tensor | None = None,
) -> torch.Tensor:
    checks = Checks("npu_rotary_mul")
    checks.require(
        rotary_mode in ("half", "interleave"),
        f"The rotary_mode of npu_rotary_mul should be half or interleave, but got {rotary_mode}",
    )
    takes_3d = _schemas.at_least(STATE.release or _schemas.NEWEST, FIRST_WITH_3D)
    checks.dims(*((3, 4) if takes_3d else (4,)), input=input, r1=r1, r2=r2)
    checks.dtype(FLOATING, input=input, r1=r1, r2=r2)
    size = input.shape[-1]
    checks.require(size % 2 == 0 and size < 896, f"input has size {size} in D; it must be even and below 896")
    checks.require(r1.shape == r2.shape, f"r1 {list(r1.shape)} and r2 {list(r2.shape)} differ")
    checks.require(
        r1.dim() == input.dim() and r1.shape[-1] == size and _broadcasts(input, r1, rotary_mode),
        f"r1 and r2 {list(r1.shape)} do not broadcast to input {list(input.shape)} in {rotary_mode} mode",
    )
    x, cos, sin = input.float(), r1.to(input.dtype).float(), r2.to(input.dtype).float()
    if rotate is not None:
        checks.shape([size, size], rotate=rotate)
        turned = x @ rotate.float()
    else:
        turned = rotate_half(x) if rotary_mode == "half" else rotate_pairs(x)
    return (x * cos + turned * sin).to(input.dtype)


def _broadcasts(input: torch.Tensor, r: torch.Tensor, mode: str) -> bool:
    """Whether the op takes ``r`` with ``input`` in one of the layouts BNSD, BSND, SBND, TND, within its limits."""
    given = list(r.shape[:-1])
    if input.dim() == 3:
        tokens, heads, _ = input.shape
        return given == [tokens, 1] or (mode == "half" and given == [tokens, heads])
    a, b, c, _ = input.shape
    # For each layout: the shapes of r, from the smallest on, and the sizes of batch and heads.
    layouts = (
        ([[1, 1, c], [a, 1, c], [a, b, c]], (a, b)),
        ([[1, b, 1], [a, b, 1], [a, b, c]], (a, c)),
        ([[a, 1, 1], [a, b, 1], [a, b, c]], (b, c)),
    )
    for shapes, (batch, heads) in layouts:
        if mode == "interleave":
            if given == shapes[0] and batch * heads < 1000:
                return True
        elif given in shapes and batch < 1000 and heads < 1000:
            return True
    return False


@fake("npu::npu_rotary_mul")
def rotary_mul_shapes(input: torch.Tensor, **_: object) -> torch.Tensor:
    return torch.empty_like(input, memory_format=torch.contiguous_format)


@reference("npu::npu_apply_rotary_pos_emb")
def apply_rotary_pos_emb(
    query: torch.Tensor,
    key: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    layout: str,
    rotary_mode: str = "half",
) -> Pair:
    checks = Checks("npu_apply_rotary_pos_emb")
    checks.require(rotary_mode == "half", f"on A2 and A3 devices rotary_mode is 'half', but got {rotary_mode!r}")
    checks.require(
        layout in ("BSH", "BSND", "TND"), f"on A2 and A3 devices layout is BSND (or BSH) or TND, but got {layout}"
    )
    checks.dims(3 if layout == "TND" else 4, query=query, key=key, cos=cos, sin=sin)
    checks.dtype(FLOATING, query=query, key=key, cos=cos, sin=sin)
    checks.same_dtype(query=query, key=key, cos=cos, sin=sin)
    size = query.shape[-1]
    checks.require(size in (64, 128), f"query has head size {size}; on A2 and A3 devices the op takes 64 or 128")
    tokens = list(query.shape[:-2])
    checks.require(
        list(key.shape[:-2]) == tokens and key.shape[-1] == size,
        f"key {list(key.shape)} does not match query {list(query.shape)}",
    )
    checks.shape([*tokens, 1, size], cos=cos, sin=sin)
    for tensor in (query, key):
        x = tensor.float()
        tensor.copy_(x * cos.float() + rotate_half(x) * sin.float())
    return query, key


@fake("npu::npu_apply_rotary_pos_emb")
def apply_rotary_pos_emb_shapes(query: torch.Tensor, key: torch.Tensor, **_: object) -> Pair:
    return torch.empty_like(query), torch.empty_like(key)


@reference("atb::_npu_rotary_embedding")
def rotary_embedding(
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    head_size: int,
    cos_sin_cache: torch.Tensor,
    is_neox_style: bool,
) -> None:
    checks = Checks("_npu_rotary_embedding")
    checks.dtype((torch.int32, torch.int64), positions=positions)
    checks.dtype(HALF_PRECISION, query=query, key=key)
    checks.same_dtype(query=query, key=key)
    checks.contiguous(query=query, key=key)
    checks.dims(2, cos_sin_cache=cos_sin_cache)
    if STATE.first_cos_sin_cache is None:
        # As torch_npu does: the tables of the first call serve every later one, whatever cache it brings.
        STATE.first_cos_sin_cache = cos_sin_cache.clone()
    table = STATE.first_cos_sin_cache
    checks.require(
        table.shape[1] == head_size,
        f"cos_sin_cache covers {table.shape[1]} of a head of {head_size}; the op rotates whole heads",
    )
    flat = positions.flatten().long()
    checks.require(
        bool(((flat >= 0) & (flat < table.shape[0])).all()),
        f"positions reach {int(flat.max()) if flat.numel() else 0}; the kept cos_sin_cache has {table.shape[0]} rows",
    )
    cos, sin = table[flat].float().chunk(2, dim=-1)
    for name, tensor in (("query", query), ("key", key)):
        checks.require(
            tensor.numel() % (flat.numel() * head_size or 1) == 0,
            f"{name} {list(tensor.shape)} is not {flat.numel()} tokens of heads of {head_size}",
        )
        heads = tensor.view(flat.numel(), -1, head_size)
        heads.copy_(_rotated(heads.float(), cos.unsqueeze(1), sin.unsqueeze(1), neox=is_neox_style))


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, neox: bool) -> torch.Tensor:
    """``x`` rotated by tables of half its width: halves against each other (neox), or neighbours."""
    first, second = x.chunk(2, dim=-1) if neox else (x[..., ::2], x[..., 1::2])
    turned = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat(turned, dim=-1) if neox else torch.stack(turned, dim=-1).flatten(-2)


@reference("npu::npu_mrope")
def mrope(
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    head_size: int,
    mrope_section: list[int] | None,
    rotary_mode: str | None,
    cache_mode: str | None = "default",
) -> Pair:
    checks = Checks("npu_mrope")
    mode, cache_mode = rotary_mode or "half", cache_mode or "default"
    if _schemas.at_least(STATE.release or _schemas.NEWEST, FIRST_WITH_CHECKED_MROPE_MODE):
        checks.require(mode in ("half", "interleave"), f"rotary_mode only support half or interleave, but got {mode!r}")
    else:
        checks.require(mode in ("half", "interleave", "interleaved"), f"rotary_mode {mode!r} is not documented")
    checks.require(
        cache_mode in ("default", "interleave"),
        f"cache_mode only support default or interleave, but got {cache_mode!r}",
    )
    checks.dtype((torch.int32, torch.int64), positions=positions)
    checks.dtype(FLOATING, query=query, key=key, cos_sin_cache=cos_sin_cache)
    checks.same_dtype(query=query, key=key, cos_sin_cache=cos_sin_cache)
    checks.dims(2, query=query, key=key, cos_sin_cache=cos_sin_cache)
    rotary_dim = cos_sin_cache.shape[1]
    step = 16 if query.dtype == torch.float32 else 32
    checks.require(
        head_size % step == 0 and rotary_dim % step == 0 and rotary_dim <= head_size,
        f"head_size {head_size} and rotary_dim {rotary_dim} must be multiples of {step}, the second not the larger",
    )
    cos, sin = _sections(checks, positions, cos_sin_cache, mrope_section, cache_mode)
    outputs = []
    for name, tensor in (("query", query), ("key", key)):
        checks.require(
            tensor.shape[0] == positions.shape[-1] and tensor.shape[1] % head_size == 0,
            f"{name} {list(tensor.shape)} is not {positions.shape[-1]} tokens of heads of {head_size}",
        )
        heads = tensor.float().unflatten(1, (-1, head_size))
        turned = _rotated(heads[..., :rotary_dim], cos.unsqueeze(1), sin.unsqueeze(1), neox=mode == "half")
        outputs.append(torch.cat([turned, heads[..., rotary_dim:]], dim=-1).flatten(1).to(tensor.dtype))
    return outputs[0], outputs[1]


def _sections(
    checks: Checks,
    positions: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    mrope_section: list[int] | None,
    cache_mode: str,
) -> Pair:
    """cos and sin, [tokens, rotary_dim / 2], put together from the sections of several position rows."""
    checks.require(
        positions.numel() == 0 or int(positions.max()) < cos_sin_cache.shape[0],
        f"positions reach {int(positions.max()) if positions.numel() else 0}, but cos_sin_cache has "
        f"{cos_sin_cache.shape[0]} rows",
    )
    rows = cos_sin_cache[positions.long()].float()
    if mrope_section is None or not any(mrope_section):
        checks.dims(1, positions=positions)
        cos, sin = rows.chunk(2, dim=-1)
        return cos, sin
    checks.require(
        positions.dim() == 2 and positions.shape[0] == len(mrope_section),
        f"positions {list(positions.shape)} do not have one row for each of {len(mrope_section)} sections",
    )
    half = cos_sin_cache.shape[1] // 2
    checks.require(
        sum(mrope_section) == half,
        f"mrope_section {mrope_section} adds up to {sum(mrope_section)}, not to rotary_dim / 2 = {half}",
    )
    cos, sin = rows.chunk(2, dim=-1)
    if cache_mode == "interleave":
        checks.require(len(mrope_section) == 3, "cache_mode 'interleave' takes three sections")
        return _interleave(cos, mrope_section), _interleave(sin, mrope_section)
    return _concatenate(cos, mrope_section), _concatenate(sin, mrope_section)


def _concatenate(table: torch.Tensor, section: list[int]) -> torch.Tensor:
    return torch.cat([part[row] for row, part in enumerate(table.split(section, dim=-1))], dim=-1)


def _interleave(table: torch.Tensor, section: list[int]) -> torch.Tensor:
    mixed = table[0].clone()
    for row in (1, 2):
        chosen = slice(row, section[1] * 3, 3)
        mixed[..., chosen] = table[row][..., chosen]
    return mixed


@fake("npu::npu_mrope", since="2.5.1.post1")
def mrope_shapes(query: torch.Tensor, key: torch.Tensor, **_: object) -> Pair:
    return torch.empty_like(query), torch.empty_like(key)
