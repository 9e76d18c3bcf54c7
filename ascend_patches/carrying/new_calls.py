"""Whether the functions of a release take the calls that carried code newly makes."""

from __future__ import annotations

import ast

from ascend_patches.carrying import call_fit
from ascend_patches.carrying.inferring import Inference
from ascend_patches.carrying.inventory import FunctionNode
from ascend_patches.carrying.release_code import ClassPlace, Code, Module
from ascend_patches.carrying.standard import is_of_torch, standard_names
from ascend_patches.carrying.usage import Called, dotted
from ascend_patches.carrying.using import functions_named

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_MANY = 12


class Calls:
    """The functions of a release, as what new calls lead to."""

    def __init__(self, code: Code, release: Code) -> None:
        self.code = code
        self.release = release

    def judge(
        self,
        module: Module,
        call: Called,
        inference: Inference,
        locals_here: set[str],
        needs: list[str],
        doubts: list[str],
    ) -> None:
        if not call.callee:
            return
        root, _, name = call.callee.rpartition(".")
        if root.startswith("torch.ops."):
            self._foreign_call(call, doubts)
            return
        if not root:
            if name not in locals_here:
                self._global_call(module, name, call, needs, doubts)
            return
        if root == "self" and inference.place is not None:
            found = self.code.method(inference.place, name)
            if found is not None and isinstance(found[1], FunctionNode):
                self._fits(found[1], call, f"{found[0].target}.{name}", True, needs, doubts)
                for each in self.code.subclasses(inference.place):
                    for member in self.code.members(each).get(name, []):
                        if isinstance(member, FunctionNode) and self._refused(member, call, True):
                            doubts.append(f"the override {each.target}.{name} {self._refused(member, call, True)}")
            return
        place = inference.class_of(root) if root != "?" else None
        if place is not None:
            found = self.code.method(place, name)
            if found is not None and isinstance(found[1], FunctionNode):
                self._fits(found[1], call, f"{found[0].target}.{name}", True, needs, doubts)
                return
        first = root.partition(".")[0]
        if first not in locals_here and first != "?":
            origin = self.code.origin(module.name, first)
            if origin is not None and not origin[1] and self.code.is_ours(origin[0]):
                rest = root.partition(".")[2]
                target = f"{origin[0]}.{rest}" if rest else origin[0]
                home = self.code.module(target)
                if home is not None:
                    self._global_call(home, name, call, needs, doubts)
                    return
            if origin is not None and not self.code.is_ours(origin[0]):
                if origin[0].partition(".")[0] in ("torch_npu", "torchair"):
                    self._foreign_call(call, doubts)
                return
        self._any_method(name, call, needs, doubts)

    def _global_call(self, module: Module, name: str, call: Called, needs: list[str], doubts: list[str]) -> None:
        origin = self.code.origin(module.name, name)
        home = self.code.module(origin[0]) if origin is not None and origin[1] else None
        if origin is None or home is None:
            return
        item = home.inventory.one(origin[1])
        if item is None:
            return
        if isinstance(item.node, FunctionNode):
            if not _wrapped(item.node):
                self._fits(item.node, call, f"{home.name}:{origin[1]}", False, needs, doubts)
        elif isinstance(item.node, ast.ClassDef):
            place = ClassPlace(home.name, origin[1], item.node)
            self._construct(place, call, needs, doubts)

    def _construct(self, place: ClassPlace, call: Called, needs: list[str], doubts: list[str]) -> None:
        found = self.code.method(place, "__init__")
        lineage, outside = self.code.lineage(place)
        made = any("dataclass" in ast.unparse(each) for owner in lineage for each in owner.node.decorator_list)
        if made and (found is None or found[0].target != place.target):
            fields = {
                name
                for owner in lineage
                for name, nodes in self.code.members(owner).items()
                if any(isinstance(n, ast.AnnAssign) for n in nodes)
            }
            for keyword in call.keywords:
                if keyword not in fields:
                    needs.append(f"{place.target} has no field {keyword!r}")
            return
        if found is not None and isinstance(found[1], FunctionNode) and not outside:
            self._fits(found[1], call, f"{place.target}.__init__", True, needs, doubts)

    def _fits(
        self, function: _Function, call: Called, shown: str, method: bool, needs: list[str], doubts: list[str]
    ) -> None:
        if _wrapped(function):
            return
        refused = self._refused(function, call, method)
        if refused:
            needs.append(f"{shown} {refused}")
        given = call_fit.returned(function)
        if call.unpacked is not None and given and 1 not in given and call.unpacked not in given:
            counts = " or ".join(str(count) for count in sorted(given))
            needs.append(f"{shown} returns {counts} values, and the carried code takes {call.unpacked}")

    def _refused(self, function: _Function, call: Called, method: bool) -> str:
        return call_fit.refusal(function, call, method and not call_fit.is_static(function))

    def _foreign_call(self, call: Called, doubts: list[str]) -> None:
        """A native op with arguments that the release's own calls of it do not give."""
        name = call.callee.rpartition(".")[2]
        known: set[str] = set()
        counts: set[int] = set()
        for path in self.release.with_word(name):
            module = self.release.module_at(path)
            for node in module.plain_calls if module is not None else ():
                if _one_name(dotted(node.func).removesuffix(".default")) == _one_name(call.callee):
                    known |= {keyword.arg for keyword in node.keywords if keyword.arg}
                    counts.add(len(node.args))
        unknown = [keyword for keyword in call.keywords if keyword not in known]
        if unknown:
            doubts.append(f"no call on the release gives {call.callee} a parameter {unknown[0]!r}")
        elif call.count is not None and counts and not min(counts) <= call.count <= max(counts):
            doubts.append(f"no call on the release gives {call.callee} {call.count} positional arguments")

    def _any_method(self, name: str, call: Called, needs: list[str], doubts: list[str]) -> None:
        """A method of an object of an unknown class: some function of that name has to take the call."""
        if not call.keywords and not call.count:
            return
        named = functions_named(self.code, name, most=_MANY) if name not in standard_names() else []
        if not named:
            return
        refusals = []
        for path, item in named:
            assert isinstance(item.node, FunctionNode)
            if _wrapped(item.node):
                continue
            why = self._refused(item.node, call, bool(item.scope))
            if why:
                refusals.append(f"{path}:{item.path} {why}")
        if refusals and len(refusals) == len(named):
            if is_of_torch(name) and self._called_alike(name, call):
                return  # of a class whose code is not here, such as a tensor
            needs.append(f"no function {name} takes this call: {refusals[0]}")
        elif refusals and call.keywords and not self._called_with(name, call.keywords):
            doubts.append(f"{refusals[0]}, if that is what {call.callee.replace('?', '(...)')} leads to")

    def _called_alike(self, name: str, call: Called) -> bool:
        """Whether the release itself makes such a call of a method of that name, with as many arguments."""
        for path in self.release.with_word(f".{name}("):
            module = self.release.module_at(path)
            for _, known in module.calls.get(name, []) if module is not None else ():
                same = known.count == call.count is not None and set(call.keywords) <= set(known.keywords)
                if same and "." in known.callee and known.callee.partition(".")[0] not in ("self", "cls"):
                    return True
        return False

    def _called_with(self, name: str, keywords: tuple[str, ...]) -> bool:
        for path in self.release.with_word(f".{name}("):
            module = self.release.module_at(path)
            for _, call in module.calls.get(name, []) if module is not None else ():
                if set(keywords) <= set(call.keywords):
                    return True
        return False


def _one_name(callee: str) -> str:
    """A function of torch for NPUs by one of its names: torch_npu gives its module to torch."""
    return callee.replace("torch_npu.npu.", "torch.npu.", 1)


def _wrapped(function: _Function) -> bool:
    """Whether a decorator may have changed what a function takes."""
    harmless = (
        "staticmethod",
        "classmethod",
        "property",
        "abstractmethod",
        "override",
        "no_grad",
        "inference_mode",
        "jit",
    )
    return any(
        not ast.unparse(each).partition("(")[0].rpartition(".")[2].startswith(harmless)
        for each in function.decorator_list
    )
