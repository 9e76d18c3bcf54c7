"""Runs on a release: puts written patches in place one by one, each in a process of its own, and takes them back.

    in_place.py FOLDER...       each holds one distribution that ``ascend-patches carry`` wrote

For each it prints one line of JSON: the patch's state, what was wrong with it in place, and what a revert left behind.
A module of the target that the release itself cannot import, no patch being on, is told apart from what is wrong.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import ascend_patches
from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.patch import Patch
from ascend_patches.patches import PATCHES
from ascend_patches.upstream import fingerprints

_SECONDS = 120
_RELEASE_PATCHES = os.path.join(os.sep, "vllm_ascend", "patch", "")
_PLAIN = (ModuleType, type)
_RELEASE = ("vllm", "vllm_ascend")
_EXTENSION = "torch.ops._C_ascend."
"""The operators of vllm-ascend's compiled extension, which only a machine with its devices loads."""
_PLACEHOLDERS = "vllm.triton_utils"
"""Where vLLM stands in for Triton on a machine without its devices, with the names that vLLM itself imports."""


def main() -> None:
    folders = [Path(each) for each in sys.argv[1:]]
    os.environ["ASCEND_PATCHES_DISABLE"] = ",".join(patch.name for patch in PATCHES)
    sys.meta_path.append(STAND_INS)
    _be_one_worker_of_one()
    problems = _import_all(folders)
    for folder in folders:
        sys.stdout.flush()
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(_SECONDS)
            os.close(reader)
            with os.fdopen(writer, "w", encoding="utf-8") as out:
                json.dump(_told(folder, problems), out)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as told:
            text = told.read()
        os.waitpid(child, 0)
        found = json.loads(text) if text else {"state": "died", "problems": ["the process died or took too long"]}
        print(json.dumps({"folder": str(folder), **found}), flush=True)


def _be_one_worker_of_one() -> None:
    """A worker has its process group before it imports models, and modules of the release ask it for their rank."""
    import torch

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)


class Unimported(NamedTuple):
    """Why a module of the release cannot be imported, no patch being on."""

    why: str
    of_release: bool
    """Whether it asks vLLM or vllm-ascend itself for a name that this release of them does not have."""


def _import_all(folders: list[Path]) -> dict[str, Unimported]:
    """Import, once for all, every module that a patch changes; what cannot be imported, with the reason."""
    problems: dict[str, Unimported] = {}
    # A worker has the release's own patches in place before anything else.
    names: dict[str, None] = dict.fromkeys(("vllm_ascend.patch.platform", "vllm_ascend.patch.worker"))
    for folder in folders:
        for rewrite in _rewrites(_patch(folder)):
            names[rewrite.module] = names[rewrite.home] = None
        sys.path.remove(str(folder))
    for name in names:
        try:
            _imported(name)
        except BaseException as error:
            of_release = isinstance(error, ImportError) and (error.name or "").partition(".")[0] in _RELEASE
            # Where a file lies on this machine says nothing about the release.
            why = re.sub(r" \(\S*\)$", "", str(error))
            problems[name] = Unimported(f"{type(error).__name__}: {why}"[:300], of_release)
    return problems


def _imported(name: str) -> None:
    """Import a module; packages of others that are not installed are stood in for, and named."""
    while True:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            top = (error.name or "").partition(".")[0]
            if not top or top in ("vllm", "vllm_ascend", "torch", "torch_npu") or top in STAND_INS.tops:
                raise
            STAND_INS.tops.append(top)
            print(json.dumps({"stand_in": top}), flush=True)
        else:
            return


class _Anything(type):
    """A class that has every attribute, and gives a function back that it is put onto as a decorator."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        one = arguments[0] if len(arguments) == 1 and not keywords else None
        return one if isinstance(one, FunctionType) else cls


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the packages that are stood in for, and all modules in them."""

    def __init__(self) -> None:
        self.tops: list[str] = []

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in self.tops:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        def made_up(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return _Anything(name, (), {})

        module.__dict__["__getattr__"] = made_up


STAND_INS = _StandIns()


def _patch(folder: Path) -> Patch:
    package = next(folder.glob("*/__init__.py")).parent.name
    sys.path.insert(0, str(folder))
    found = importlib.import_module(package).PATCH
    assert isinstance(found, Patch)
    return found


def _rewrites(patch: Patch) -> list[Carried]:
    found = {
        (rewrite.target, rewrite.kind): rewrite
        for variant in patch.variants
        for rewrite in (*variant.rewrites, *(each for part in variant.parts for each in part.rewrites))
        if isinstance(rewrite, Carried)
    }
    return list(found.values())


def _told(folder: Path, unimported: dict[str, Unimported]) -> dict[str, Any]:
    try:
        return _tried(folder, unimported)
    except BaseException:
        return {"state": "died", "problems": [traceback.format_exc()[-1500:]]}


def _tried(folder: Path, unimported: dict[str, Unimported]) -> dict[str, Any]:
    patch = _patch(folder)
    rewrites = _rewrites(patch)
    lacking = {rewrite.module: unimported[rewrite.module] for rewrite in rewrites if rewrite.module in unimported}
    if lacking:
        said = [f"{name}: {one.why}" for name, one in lacking.items()]
        of_release = all(one.of_release for one in lacking.values())
        return {"state": "not importable" if of_release else "not imported", "problems": said}
    _installed(folder, patch.name)
    before = _snapshot(rewrites)
    # What the release's own code asks for and is not there, is lacking here and not in the patch.
    lacking_before = {rewrite.target: _lacking_before(rewrite) for rewrite in rewrites}
    ascend_patches.apply_patches()
    state = next(each for each in ascend_patches.status()["patches"] if each["name"] == patch.name)
    problems = []
    if state["state"] != "applied":
        return {"state": state["state"], "problems": [json.dumps(state)[-1500:]]}
    for rewrite in rewrites:
        problems += _wrong_in_place(rewrite, lacking_before[rewrite.target])
    ascend_patches.revert_patches(patch.name)
    after = _snapshot(rewrites)
    homes = {str(sys.modules[rewrite.home].__file__) for rewrite in rewrites if rewrite.home in sys.modules}
    left = sorted(key for key in before.keys() | after.keys() if _differs(before, after, key, homes))
    return {"state": "applied", "problems": problems, "left": left}


def _installed(folder: Path, name: str) -> None:
    """What an installer would leave: the metadata by which the patch is found."""
    package = name.replace("-", "_")
    metadata = folder / f"{package}-0.1.0.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n", encoding="utf-8")
    entry = f"[ascend_patches.patches]\n{package} = {package}:PATCH\n"
    (metadata / "entry_points.txt").write_text(entry, encoding="utf-8")


def _snapshot(rewrites: list[Carried]) -> dict[str, Any]:
    """All that the modules and the classes of the targets hold, by name."""
    found: dict[str, Any] = {}
    for rewrite in rewrites:
        for name in (rewrite.module, rewrite.home):
            module = sys.modules.get(name)
            found[f"module {name}"] = module
            found |= {f"{name}:{key}": value for key, value in (vars(module) if module is not None else {}).items()}
        owner: Any = sys.modules[rewrite.module]
        for part in rewrite.path.split(".")[:-1]:
            owner = vars(owner).get(part)
        if isinstance(owner, type):
            found[f"{rewrite.module}:{owner.__qualname__}.__bases__"] = owner.__bases__
            found |= {f"{rewrite.module}:{owner.__qualname__}.{key}": value for key, value in vars(owner).items()}
    return found


_ABSENT = object()


def _differs(before: dict[str, Any], after: dict[str, Any], key: str, homes: Collection[str]) -> bool:
    now = after.get(key, _ABSENT)
    made_in = now.__code__.co_filename if isinstance(now, FunctionType) else ""
    if _RELEASE_PATCHES in made_in and made_in not in homes:
        return False  # one of the release's own patches put it there, which some do at each import
    if isinstance(now, FunctionType) and hasattr(now, "_looked_at_by_ascend_patches"):
        return False  # by this the toolkit reads vLLM's configuration, with no patch on as well
    if key not in before and _is_of_its_package(key, now):
        return False  # a package has what was imported of it, by whatever code
    return before.get(key, _ABSENT) is not now and not key.endswith(("__dict__", "__weakref__"))


def _is_of_its_package(key: str, value: object) -> bool:
    """Whether a name of a package is its submodule, from the release's own folder."""
    package, _, name = key.partition(":")
    if not isinstance(value, ModuleType) or value.__name__ != f"{package}.{name}":
        return False
    folders = getattr(sys.modules.get(package), "__path__", ())
    return any(str(value.__file__).startswith(os.path.join(each, "")) for each in folders)


def _wrong_in_place(rewrite: Carried, lacking_before: Collection[str]) -> list[str]:
    """What does not hold of a carried definition that is in place."""
    owner = _owner(rewrite)
    name = rewrite.path.rpartition(".")[2]
    if rewrite.kind == "bases":
        names = [each.strip().rpartition(".")[2] for each in rewrite.value.split(",")]
        return [] if [each.__name__ for each in owner.__bases__] == names else [f"{rewrite.target}: has other bases"]
    if name not in vars(owner):
        return [f"{rewrite.target}: is not in place"]
    if rewrite.kind == "fields":
        return _wrong_in_fields(rewrite, owner)
    value = vars(owner)[name]
    if rewrite.kind == "alias":
        wrap, _, inner = rewrite.value.rstrip(")").rpartition("(")
        held = at_path(sys.modules[rewrite.home], inner)
        same = value.__func__ is held if wrap else value is held or _is_kept_original(rewrite, value, inner)
        return [] if same else [f"{rewrite.target}: is not {rewrite.home}:{rewrite.value}"]
    if rewrite.kind == "module":
        return [f"{rewrite.target}: {each}" for each in _wrong_in_module(rewrite, value)]
    wrong = []
    node = statement_at(Path(rewrite.file), rewrite.path)
    if node is None:
        return [f"{rewrite.target}: {rewrite.file} does not define it"]
    if fingerprints.of_node(node) != rewrite.code:
        wrong.append("its file holds other code than it was declared with")
    plain = fingerprints.plain_function(value)
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and plain is not None:
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        if (plain.__code__.co_filename, plain.__code__.co_firstlineno) != (rewrite.file, first):
            wrong.append("what is in place was made at another place")
    lacking = unresolved(node, vars(sys.modules[rewrite.home]), functions_of(value, rewrite.file))
    wrong += [each for each in lacking if each not in lacking_before]
    return [f"{rewrite.target}: {each}" for each in wrong]


def _wrong_in_fields(rewrite: Carried, owner: Any) -> list[str]:
    """What does not hold of the fields that a dataclass was given."""
    names = [each.strip() for each in rewrite.value.split(",")]
    scope = rewrite.path.rpartition(".")[0]
    nodes = [statement_at(Path(rewrite.file), f"{scope}.{name}") for name in names]
    prints = " ".join(fingerprints.of_node(node) or "" for node in nodes if node is not None)
    wrong = [] if prints == rewrite.code else ["its file holds other code than it was declared with"]
    taken = inspect.signature(owner).parameters
    wrong += [f"its constructor takes no {name}" for name in names if name not in taken]
    wrong += [f"{name} is no field" for name in names if name not in {each.name for each in dataclasses.fields(owner)}]
    return [f"{rewrite.target}: {each}" for each in wrong]


def _is_kept_original(rewrite: Carried, value: object, path: str) -> bool:
    """Whether an alias keeps what was at a place at which the patch has put something else by now."""
    plain = fingerprints.plain_function(value)
    return (
        plain is not None and plain.__name__ == path.rpartition(".")[2] and plain.__code__.co_filename != rewrite.file
    )


def _wrong_in_module(rewrite: Carried, module: ModuleType) -> list[str]:
    """What does not hold of a module that was added."""
    tree = fingerprints.parse(Path(rewrite.file).read_text(encoding="utf-8"))
    wrong = (
        [] if fingerprints.of_node(tree) == rewrite.code else ["its file holds other code than it was declared with"]
    )
    if sys.modules.get(rewrite.home) is not module:
        wrong.append("is not what an import of its name gives")
    for node in tree.body:
        value = vars(module).get(getattr(node, "name", ""))
        wrong += unresolved(node, vars(module), functions_of(value, rewrite.file))
    return wrong


def _owner(rewrite: Carried) -> Any:
    return at_path(sys.modules[rewrite.module], rewrite.path.rpartition(".")[0])


def at_path(value: Any, path: str) -> Any:
    """What a module holds at ``Class.attribute``, as it is held there."""
    for name in path.split(".") if path else ():
        owners = value.__mro__ if isinstance(value, type) else (value,)
        value = next(vars(each)[name] for each in owners if name in vars(each))
    return value


def _lacking_before(rewrite: Carried) -> list[str]:
    """What the release's own definition at a target asks for and does not find."""
    if rewrite.kind != "function":
        return []
    package = sys.modules[rewrite.home].__name__.partition(".")[0]
    root, _, rest = rewrite.file.rpartition(f"{os.sep}after{os.sep}{package}{os.sep}")
    file = Path(root) / "before" / package / rest
    node = statement_at(file, rewrite.path) if rest and file.is_file() else None
    if node is None:
        return []
    value = vars(_owner(rewrite)).get(rewrite.path.rpartition(".")[2])
    return unresolved(node, vars(sys.modules[rewrite.home]), functions_of(value, sys.modules[rewrite.home].__file__))


def functions_of(value: object, file: str | None) -> list[FunctionType]:
    """A function as it was written, or those of a class, where a file has them: not what is imported, or made up."""
    held = list(vars(value).values()) if isinstance(value, type) else [value]
    found = [plain for each in held if (plain := fingerprints.plain_function(each)) is not None]
    return [plain for plain in found if plain.__code__.co_filename == file]


def statement_at(file: Path, path: str) -> ast.stmt | None:
    """The statement of a file that binds a name, or one in a class: a definition, an assignment or an import."""
    return _statement(fingerprints.parse(file.read_text(encoding="utf-8")).body, path.split("."))


def _statement(body: list[ast.stmt], names: list[str]) -> ast.stmt | None:
    for statement in body:
        if names[0] in _bound_by(statement):
            return _statement(getattr(statement, "body", []), names[1:]) if len(names) > 1 else statement
    return None


def _bound_by(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {
        node.id
        for target in targets
        if isinstance(target, ast.expr)
        for node in ast.walk(target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def unresolved(node: ast.stmt, namespace: dict[str, Any], functions: Sequence[FunctionType]) -> list[str]:
    """Global names that nothing binds, what is asked of modules and classes and not there, and imports that fail."""
    wrong = []
    used = {name for function in functions for name in _globals(function)}
    wrong += [f"no name {name}" for name in sorted(used) if name not in namespace and not hasattr(builtins, name)]
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Load):
            said = _missing_attribute(inner, namespace, used)
            if said:
                wrong.append(said)
        elif isinstance(inner, ast.ImportFrom):
            wrong += _failed_imports(inner, namespace)
    return list(dict.fromkeys(wrong))


def _globals(function: FunctionType) -> set[str]:
    import dis

    found: set[str] = set()
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        found |= {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
        waiting += [each for each in code.co_consts if hasattr(each, "co_code")]
    return found


def _missing_attribute(node: ast.Attribute, namespace: dict[str, Any], used: set[str]) -> str:
    parts = [node.attr]
    inner: ast.AST = node.value
    while isinstance(inner, ast.Attribute):
        parts.append(inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name) or inner.id not in used or inner.id not in namespace:
        return ""
    value = namespace[inner.id]
    for part in reversed(parts):
        if not isinstance(value, _PLAIN):
            return ""
        try:
            value = getattr(value, part)
        except AttributeError:
            asked = ast.unparse(node)
            stood_in = type(value).__module__.startswith(_PLACEHOLDERS) or asked.startswith(_EXTENSION)
            return "" if stood_in and asked in _asked_by_release(inner.id) else f"{asked} is not there"
        except Exception:
            return ""
    return ""


@cache
def _asked_by_release(first: str) -> frozenset[str]:
    """The dotted names that the release's own code asks of a name: with its devices these are there."""
    found: set[str] = set()
    for folder in sys.modules["vllm_ascend"].__path__:
        for file in Path(folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8-sig")
            if f"{first}." in text:
                nodes = ast.walk(fingerprints.parse(text))
                found |= {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    return frozenset(name for name in found if name.startswith(f"{first}."))


def _failed_imports(node: ast.ImportFrom, namespace: dict[str, Any]) -> list[str]:
    if node.module == "__future__":
        return []
    source = "." * node.level + (node.module or "")
    package = namespace.get("__package__") or ""
    try:
        module = importlib.import_module(source, package)
    except BaseException as error:
        return [f"from {source} import: {type(error).__name__}: {error}"[:200]]
    wrong = []
    for alias in node.names:
        if not hasattr(module, alias.name):
            try:
                importlib.import_module(f"{module.__name__}.{alias.name}")
            except BaseException:
                wrong.append(f"{source} has no {alias.name}")
    return wrong


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
