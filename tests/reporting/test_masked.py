"""Command lines in reports: what is secret is masked, and nothing else."""

from __future__ import annotations

import pytest

from ascend_patches.reporting.masked import masked


@pytest.mark.parametrize(
    "command",
    [
        ["--api-key", "S3CRET"],
        ["--api-key=S3CRET"],
        ["--api-key", "S3CRET", "S3CRET-too", "--port", "80"],
        ["--api_key", "-S3CRET"],
        ["--apiKey", "S3CRET"],
        ["--hf-token", "S3CRET"],
        ["--hf-token=S3CRET"],
        ["--speculative-config.token", "S3CRET"],
        ["--db-password", "S3CRET with spaces"],
        ["--client-secret=a,S3CRET;b"],
        ["HF_TOKEN=S3CRET", "python", "-m", "vllm"],
        ["--env", "AWS_SECRET_ACCESS_KEY=S3CRET/=="],
        ["--env=PASSWORD=a,S3CRET&b"],
        ["-eHF_TOKEN=S3CRET"],
        ["-H", "Authorization: Bearer S3CRET"],
        ["-H", "X-Api-Key: S3CRET"],
        ["--header", "Cookie: session=S3CRET"],
        ["https://user:S3CRET@host/path"],
        ["https://S3CRET@host/path"],
        ["redis://:S3CRET@host:6379/0"],
        ["--endpoint=https://user:S3CRET@host"],
        ["https://host/path?page=1&access_token=S3CRET&x=2"],
        ["--kv-transfer-config", '{"inner": {"password": "S3CRET", "port": 1}}'],
        ["--kv-transfer-config", "{'secret': 'S3CRET'}"],
        ["hf_S3CRETS3CRETS3CRETS3"],
        ["note:sk-S3CRETS3CRET"],
    ],
    ids=" ".join,
)
def test_a_secret_does_not_stay(command: list[str]) -> None:
    assert "S3CRET" not in " ".join(masked(command))


@pytest.mark.parametrize(
    "command",
    [
        ["vllm", "serve", "Qwen/Qwen3-VL-8B", "--port", "8000"],
        ["--max-num-batched-tokens", "8192", "--max-tokens=16"],
        ["--long-prefill-token-threshold", "100"],
        ["--tokenizer", "Qwen/Qwen3", "--tokenizer-mode=auto", "--skip-tokenizer-init"],
        ["--ssl-keyfile", "/etc/ssl/key.pem"],
        ["--hf-overrides", '{"num_layers": 3, "name": "x"}'],
        ["http://host:80/path?page=1"],
        ["--enable-prefix-caching", "--", "positional"],
    ],
    ids=" ".join,
)
def test_what_is_no_secret_stays(command: list[str]) -> None:
    assert masked(command) == command


def test_what_surrounds_a_secret_stays() -> None:
    command = ["vllm", "serve", "--api-key", "x", "--port", "80", "--hf-token=y", "MODEL"]
    assert masked(command) == ["vllm", "serve", "--api-key", "***", "--port", "80", "--hf-token=***", "MODEL"]


def test_an_endless_argument_takes_no_endless_time() -> None:
    assert masked(["a=" * 50_000, "://" * 50_000, '"' * 50_000])
