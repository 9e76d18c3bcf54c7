"""The vLLM platform plugin: absent until asked for; then a whole real engine answers through ``forward_oot``."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE_RUN = Path(__file__).with_name("engine_run.py")
OPS_OF_A_VISION_FORWARD = ("MMEncoderAttention", "ApplyRotaryEmb", "Conv3dLayer")
OPS_OF_A_TEXT_FORWARD = ("RMSNorm", "SiluAndMul", "MRotaryEmbedding")

ENGINE_VARIABLES = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "emulated_npu",
    "OMP_NUM_THREADS": "1",
}


def environment(*paths: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with the package and ``paths`` importable and no wish but those given."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ASCEND_PATCHES", "VLLM", "RAY"))
    }
    return {**inherited, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT))), **variables}


def python(code: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def said(code: str, env: Mapping[str, str]) -> str:
    """What a process that runs ``code`` prints; it has to end well."""
    ran = python(code, env)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def distribution(folder: Path, name: str, entry_points: str) -> None:
    """Make ``folder`` hold an installed distribution with these entry points."""
    info = folder / f"{name}-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")
    (info / "entry_points.txt").write_text(entry_points)


ASK = "from emulated_npu.vllm_plugin import plugin; print(plugin())"


@pytest.mark.parametrize("wish", [{}, {"EMULATED_NPU": ""}, {"EMULATED_NPU": "0"}])
def test_it_names_no_platform_where_nobody_asked(wish: dict[str, str]) -> None:
    assert said(ASK, environment(**wish)) == "None"


def test_it_imports_nothing_but_itself_and_the_standard_library_where_nobody_asked() -> None:
    code = f"import sys; before = set(sys.modules); {ASK}; print(*sorted(set(sys.modules) - before))"
    imported = said(code, environment()).splitlines()[1].split()
    assert [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names] == [
        "emulated_npu",
        "emulated_npu.vllm_plugin",
    ]


def test_it_names_its_platform_where_asked() -> None:
    platform = said(ASK, environment(EMULATED_NPU="1"))
    assert platform == "emulated_npu._vllm_platform.EmulatedNpuPlatform"


def test_a_wish_that_cannot_be_read_is_reported_and_not_granted() -> None:
    ran = python(ASK, environment(EMULATED_NPU="yes"))
    assert (ran.stdout.strip(), "EMULATED_NPU=yes is not understood" in ran.stderr) == ("None", True)


@pytest.fixture
def real_npu(tmp_path: Path) -> Path:
    """An environment with vllm-ascend's platform in it."""
    distribution(tmp_path, "vllm_ascend", "[vllm.platform_plugins]\nascend = vllm_ascend:register\n")
    (tmp_path / "vllm_ascend.py").write_text("def register():\n    return 'vllm_ascend.platform.NPUPlatform'\n")
    return tmp_path


def test_a_real_npu_platform_beside_it_is_reported_with_what_to_do(real_npu: Path) -> None:
    ran = python(ASK, environment(real_npu, EMULATED_NPU="1"))
    assert "VLLM_PLUGINS=emulated_npu (separated" in ran.stderr


def test_a_real_npu_platform_that_may_not_load_is_no_rival(real_npu: Path) -> None:
    wish = {"EMULATED_NPU": "1", "VLLM_PLUGINS": "emulated_npu,another"}
    assert python(ASK, environment(real_npu, **wish)).stderr == ""


@pytest.fixture
def small_vllm(tmp_path: Path) -> Path:
    """The few names of vLLM that the platform is built on, and an op dispatch that asks it."""
    platforms = tmp_path / "vllm" / "platforms"
    executor = tmp_path / "vllm" / "model_executor"
    platforms.mkdir(parents=True)
    executor.mkdir()
    (platforms / "interface.py").write_text(
        "import enum\n"
        "class PlatformEnum(enum.Enum):\n    CPU = 1\n    OOT = 2\n"
        "class Platform:\n"
        "    def is_cpu(self): return self._enum == PlatformEnum.CPU\n"
        "    def is_out_of_tree(self): return self._enum == PlatformEnum.OOT\n"
    )
    (platforms / "cpu.py").write_text(
        "import os\n"
        "from .interface import Platform, PlatformEnum\n"
        "class CpuPlatform(Platform):\n"
        "    _enum = PlatformEnum.CPU\n"
        "    @classmethod\n"
        "    def check_and_update_config(cls, vllm_config):\n"
        "        os.environ['VLLM_WORKER_MULTIPROC_METHOD'] = 'spawn'\n"
    )
    (executor / "custom_op.py").write_text("def forward_of(platform): return 'cpu' if platform.is_cpu() else 'oot'\n")
    return tmp_path


PLATFORM = "from emulated_npu._vllm_platform import EmulatedNpuPlatform as P; p = P(); "


def test_it_is_the_cpu_platform_to_everyone_who_looks_for_cpu_code(small_vllm: Path) -> None:
    assert said(PLATFORM + "print(p.is_cpu(), p.is_out_of_tree())", environment(small_vllm)) == "True True"


def test_it_is_not_the_cpu_platform_to_the_dispatch_of_ops(small_vllm: Path) -> None:
    code = PLATFORM + "from vllm.model_executor.custom_op import forward_of; print(forward_of(p))"
    assert said(code, environment(small_vllm)) == "oot"


def test_a_compiled_forward_may_ask_it(small_vllm: Path) -> None:
    code = PLATFORM + (
        "import torch; f = torch.compile(lambda x: x + p.is_cpu(), fullgraph=True, backend='eager'); "
        "print(f(torch.zeros(1)).item())"
    )
    assert said(code, environment(small_vllm)) == "1.0"


def test_it_brings_the_torch_npu_that_stands_in(small_vllm: Path) -> None:
    code = PLATFORM + "import torch_npu; print(torch_npu.__version__)"
    env = environment(small_vllm, EMULATED_NPU_TORCH_NPU="2.9.0")
    assert said(code, env) == "2.9.0"


def test_its_ops_take_tensors_of_the_cpu(small_vllm: Path) -> None:
    code = PLATFORM + (
        "import torch, torch_npu; x = torch.ones(1, 2, 1, 4, dtype=torch.float16); "
        "cos, sin = torch.ones(1, 2, 1, 4).half(), torch.zeros(1, 2, 1, 4).half(); "
        "print(torch_npu.npu_rotary_mul(x, cos, sin).device)"
    )
    assert said(code, environment(small_vllm)) == "cpu"


RAY_CONFIG = (
    "from types import SimpleNamespace as N; "
    "parallel = N(distributed_executor_backend={backend!r}, ray_runtime_env={given!r}); "
    "P.check_and_update_config(N(parallel_config=parallel)); print(parallel.ray_runtime_env)"
)


@pytest.mark.parametrize(
    ("backend", "given", "carried"),
    [
        ("ray", None, {"env_vars": {"EMULATED_NPU": "1"}}),
        (
            "ray",
            {"pip": ["x"], "env_vars": {"A": "b"}},
            {"pip": ["x"], "env_vars": {"EMULATED_NPU": "1", "A": "b"}},
        ),
        ("mp", None, None),
    ],
    ids=["ray", "ray with a runtime environment of the user's", "no ray"],
)
def test_only_ray_workers_are_sent_the_wish(backend: str, given: Any, carried: Any, small_vllm: Path) -> None:
    code = PLATFORM + RAY_CONFIG.format(backend=backend, given=given)
    assert said(code, environment(small_vllm, EMULATED_NPU="1")) == str(carried)


@pytest.mark.parametrize(
    ("wish", "method"), [({}, "spawn"), ({"VLLM_WORKER_MULTIPROC_METHOD": "fork"}, "fork")], ids=["none", "fork"]
)
def test_a_start_method_that_the_user_chose_stays(wish: dict[str, str], method: str, small_vllm: Path) -> None:
    code = PLATFORM + (
        "import os; from types import SimpleNamespace as N; "
        "P.check_and_update_config(N(parallel_config=N(distributed_executor_backend='mp'))); "
        "print(os.environ['VLLM_WORKER_MULTIPROC_METHOD'])"
    )
    assert said(code, environment(small_vllm, **wish)) == method


def test_a_vllm_without_a_cpu_platform_is_refused_with_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    ran = python("import emulated_npu._vllm_platform", environment(tmp_path))
    assert ran.stderr.splitlines()[-1].startswith("emulated_npu._errors.EmulatedNpuError: ")
    assert "vllm-cpu" in ran.stderr.splitlines()[-1]


DEFINE = (
    "import torch; from emulated_npu import _torchvision as t; "
    "t.define_ops_of_an_unloadable_extension(); t.define_ops_of_an_unloadable_extension(); "
    "print([bool(torch._C._jit_get_schemas_for_operator('torchvision::' + op)) for op in ('nms', 'qnms')])"
)


@pytest.fixture
def torchvision(tmp_path: Path) -> Path:
    """The folder of a torchvision, without its extension."""
    folder = tmp_path / "torchvision"
    folder.mkdir()
    (folder / "__init__.py").touch()
    return folder


def test_a_torchvision_whose_extension_cannot_be_loaded_gets_its_schemas(torchvision: Path) -> None:
    (torchvision / "_C.so").write_text("built for another machine")
    assert said(DEFINE, environment(torchvision.parent)) == "[True, True]"


def test_a_torchvision_whose_extension_loads_is_left_alone(torchvision: Path) -> None:
    import torch

    (torchvision / "_C.so").symlink_to(Path(torch.__file__).parent / "lib" / "libc10.so")
    assert said(DEFINE, environment(torchvision.parent)) == "[False, False]"


def test_a_torchvision_without_an_extension_is_left_alone(torchvision: Path) -> None:
    assert said(DEFINE, environment(torchvision.parent)) == "[False, False]"


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose presence on the path installs the platform plugin."""
    folder = tmp_path_factory.mktemp("plugins")
    plugin = "emulated_npu = emulated_npu.vllm_plugin:plugin"
    distribution(folder, "plugin_of_emulated_npu", f"[vllm.platform_plugins]\n{plugin}\n")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-qwen3-vl")
    subprocess.run([sys.executable, ROOT / "tools" / "tiny_qwen3_vl.py", folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def importable_torchvision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that lets every process of a plain engine import a torchvision that is built for CUDA."""
    folder = tmp_path_factory.mktemp("torchvision")
    define = "from emulated_npu._torchvision import define_ops_of_an_unloadable_extension as define\n"
    (folder / "sitecustomize.py").write_text(define + "define()\n")
    return folder


def engine(checkpoint: Path, *paths: Path, arguments: tuple[str, ...] = (), **variables: str) -> dict[str, Any]:
    """What a real engine of its own process, which knows nothing of earlier ones, answered, and how."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        ran = subprocess.run(
            [sys.executable, ENGINE_RUN, checkpoint, report, *arguments],
            env=environment(*paths, **ENGINE_VARIABLES, VLLM_CACHE_ROOT=folder, **variables),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-8000:]
        found: dict[str, Any] = json.loads(report.read_text())
        return found


@pytest.fixture(scope="module")
def plain(checkpoint: Path, plugins: Path, importable_torchvision: Path) -> dict[str, Any]:
    return engine(checkpoint, plugins, importable_torchvision)


@pytest.fixture(scope="module")
def emulated(checkpoint: Path, plugins: Path) -> dict[str, Any]:
    return engine(checkpoint, plugins, EMULATED_NPU="1")


@pytest.mark.engine
def test_an_engine_that_nobody_asked_to_emulate_serves_on_its_own_platform(plain: dict[str, Any]) -> None:
    assert [place["platform"] for place in (plain, *plain["workers"])] == ["CpuPlatform", "CpuPlatform"]


@pytest.mark.engine
def test_the_plain_engine_answers_about_its_images(plain: dict[str, Any]) -> None:
    assert len({tuple(tokens) for tokens in plain["tokens"]}) == len(plain["tokens"])


@pytest.mark.engine
def test_every_process_of_an_engine_serves_on_the_emulated_platform(emulated: dict[str, Any]) -> None:
    places = (emulated, *emulated["workers"])
    assert [place["platform"] for place in places] == ["EmulatedNpuPlatform", "EmulatedNpuPlatform"]


@pytest.mark.engine
def test_the_emulated_engine_answers_token_for_token_like_the_plain_one(
    emulated: dict[str, Any], plain: dict[str, Any]
) -> None:
    assert emulated["tokens"] == plain["tokens"]


@pytest.mark.engine
@pytest.mark.parametrize("op", [*OPS_OF_A_VISION_FORWARD, *OPS_OF_A_TEXT_FORWARD])
def test_an_op_runs_forward_oot(op: str, emulated: dict[str, Any]) -> None:
    # How often depends on how vLLM happens to put the requests together.
    assert emulated["workers"][0]["forwards"][f"{op}.forward_oot"] > 0


@pytest.mark.engine
def test_what_runs_forward_oot_is_what_runs_forward_cpu_on_the_plain_platform(
    emulated: dict[str, Any], plain: dict[str, Any]
) -> None:
    oot, cpu = ({name.partition(".")[0] for name in run["workers"][0]["forwards"]} for run in (emulated, plain))
    assert oot == cpu


@pytest.mark.engine
def test_no_op_runs_another_forward_than_forward_oot(emulated: dict[str, Any]) -> None:
    assert {name.partition(".")[2] for name in emulated["workers"][0]["forwards"]} == {"forward_oot"}


@pytest.mark.engine
def test_spawned_workers_serve_on_it(checkpoint: Path, plugins: Path, plain: dict[str, Any]) -> None:
    spawned = engine(checkpoint, plugins, EMULATED_NPU="1", VLLM_WORKER_MULTIPROC_METHOD="spawn")
    assert [worker["platform"] for worker in spawned["workers"]] == ["EmulatedNpuPlatform"]
    assert spawned["tokens"] == plain["tokens"]


@pytest.mark.engine
def test_two_tensor_parallel_workers_serve_on_it(checkpoint: Path, plugins: Path, plain: dict[str, Any]) -> None:
    parallel = engine(checkpoint, plugins, arguments=("--tensor-parallel", "2"), EMULATED_NPU="1")
    assert [worker["platform"] for worker in parallel["workers"]] == ["EmulatedNpuPlatform"] * 2
    assert parallel["tokens"] == plain["tokens"]


@pytest.fixture
def ray_address(plugins: Path) -> Iterator[str]:
    """A Ray node of our own with two NPUs, in whose environment nobody asked for the emulated one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Ray puts sockets there, whose paths have to be short.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    node = subprocess.Popen(
        [
            Path(sys.executable).with_name("ray"),
            *("start", "--head", "--block", f"--port={port}", "--num-cpus=4", '--resources={"NPU": 2}'),
            *("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"),
        ],
        env=environment(plugins, ENGINE_RUN.parent, **ENGINE_VARIABLES),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert node.stdout is not None
    assert any("--block" in line for line in node.stdout), "ray start ended before the node was up"
    yield f"127.0.0.1:{port}"
    node.terminate()
    node.communicate()
    shutil.rmtree(folder)


@pytest.mark.engine
def test_ray_workers_serve_on_it(checkpoint: Path, plugins: Path, plain: dict[str, Any], ray_address: str) -> None:
    wish = {"EMULATED_NPU": "1", "RAY_ADDRESS": ray_address}
    distributed = engine(checkpoint, plugins, arguments=("--tensor-parallel", "2", "--executor", "ray"), **wish)
    assert [worker["platform"] for worker in distributed["workers"]] == ["EmulatedNpuPlatform"] * 2
    assert distributed["tokens"] == plain["tokens"]


CURRENT_PLATFORM = "from vllm.platforms import current_platform; print(type(current_platform).__name__)"


@pytest.mark.engine
def test_vllm_does_not_start_with_a_real_npu_platform_beside_it(real_npu: Path, plugins: Path) -> None:
    ran = python(CURRENT_PLATFORM, environment(real_npu, plugins, EMULATED_NPU="1"))
    assert "Only one platform plugin can be activated" in ran.stderr.splitlines()[-1]
    assert "VLLM_PLUGINS=emulated_npu (separated" in ran.stderr


@pytest.mark.engine
def test_vllm_does_not_fall_back_to_another_platform_when_it_cannot_be_built(plugins: Path) -> None:
    wish = {"EMULATED_NPU": "1", "EMULATED_NPU_TORCH_NPU": "0.0.1"}
    ran = python(CURRENT_PLATFORM, environment(plugins, **wish))
    assert ran.returncode == 1
    assert "0.0.1" in ran.stderr.splitlines()[-1]
