"""Version-gated runtime patches for vLLM on Ascend NPUs: the public names, each loaded when it is first used.

Nothing is imported here, because every interpreter of an environment with the toolkit passes through this file.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ascend_patches._version import __version__ as __version__
    from ascend_patches.api import apply_patches, revert_patches, status
    from ascend_patches.declaring.carried import Carried
    from ascend_patches.declaring.gates import absent, always, installed, torch_npu_has, version_in, vllm_version_is
    from ascend_patches.declaring.patch import Exemption, Option, Part, Patch, Rewrite, Variant
    from ascend_patches.errors import AscendPatchesError, SettingsError, StrictModeError

__all__ = [
    "apply_patches",
    "revert_patches",
    "status",
    "Patch",
    "Variant",
    "Part",
    "Rewrite",
    "Carried",
    "Exemption",
    "Option",
    "vllm_version_is",
    "version_in",
    "installed",
    "absent",
    "torch_npu_has",
    "always",
    "AscendPatchesError",
    "SettingsError",
    "StrictModeError",
]

_HOMES = {
    "_version": ("__version__",),
    "api": ("apply_patches", "revert_patches", "status"),
    "declaring.carried": ("Carried",),
    "declaring.patch": ("Patch", "Variant", "Part", "Rewrite", "Exemption", "Option"),
    "declaring.gates": ("vllm_version_is", "version_in", "installed", "absent", "torch_npu_has", "always"),
    "errors": ("AscendPatchesError", "SettingsError", "StrictModeError"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            value = getattr(import_module(f"ascend_patches.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'ascend_patches' has no attribute {name!r}")
