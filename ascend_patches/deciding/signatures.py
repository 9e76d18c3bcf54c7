"""Whether a replacement can take upstream's calls, found out from source text: neither of the two is imported.

What activation will refuse is to be known before: by status, explain and check.
"""

from __future__ import annotations

import ast
from types import FunctionType

from ascend_patches.declaring.carried import Carried
from ascend_patches.declaring.patch import Rewrite
from ascend_patches.replacing.sign import signature_difference
from ascend_patches.upstream import fingerprints
from ascend_patches.upstream.sources import Installation, Sources

_Definition = ast.FunctionDef | ast.AsyncFunctionDef
_COMPUTED = "a computed default"
_PLAIN = frozenset({"staticmethod", "classmethod", "property"})
"""Decorators under which the function that is written is the function that is called."""


def misfit(rewrite: Rewrite, code: Sources, ours: Sources | None = None) -> str:
    """Why a replacement does not fit a target, in words; empty where it fits or where that cannot be known."""
    if rewrite.replace is None or isinstance(rewrite, Carried):
        # What a carried change does to a signature is upstream's own doing, and its callers were looked at.
        return ""
    target = code.find(rewrite.target)
    replacement = _replacement(rewrite, ours if ours is not None else Installation())
    if isinstance(target, str) or replacement is None or not _PLAIN.issuperset(_decorators(target.node)):
        return ""
    computed = _computed_defaults(target.node) | _computed_defaults(replacement)
    return signature_difference(_stub(target.node, computed), _stub(replacement, computed))


def _replacement(rewrite: Rewrite, ours: Sources) -> _Definition | None:
    if isinstance(rewrite.replace, str):
        found = ours.find(rewrite.replace)
        return None if isinstance(found, str) or found.node.decorator_list else found.node
    if not isinstance(rewrite.replace, FunctionType):
        return None
    node = fingerprints.node_of_function(rewrite.replace)
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _decorators(node: _Definition) -> set[str]:
    return {ast.unparse(decorator) for decorator in node.decorator_list}


def _defaults(node: _Definition) -> dict[str, ast.expr]:
    """The defaults of a definition's parameters, by name."""
    positional = [*node.args.posonlyargs, *node.args.args]
    with_default = positional[len(positional) - len(node.args.defaults) :]
    found = dict(zip((each.arg for each in with_default), node.args.defaults, strict=True))
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        if default is not None:
            found[argument.arg] = default
    return found


def _computed_defaults(node: _Definition) -> set[str]:
    """The parameters whose default is known only by running the code."""
    computed = set()
    for name, default in _defaults(node).items():
        try:
            ast.literal_eval(default)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            computed.add(name)
    return computed


def _stub(node: _Definition, computed: set[str]) -> FunctionType:
    """A function with the signature of a definition, and nothing of its body but whether it yields."""
    kind_of_function = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    signature = ast.parse(f"{kind_of_function} stub(): pass").body[0]
    assert isinstance(signature, ast.FunctionDef | ast.AsyncFunctionDef)
    arguments = signature.args
    given = node.args
    for kind in ("posonlyargs", "args", "kwonlyargs"):
        setattr(arguments, kind, [ast.arg(each.arg) for each in getattr(given, kind)])
    arguments.vararg = ast.arg(given.vararg.arg) if given.vararg is not None else None
    arguments.kwarg = ast.arg(given.kwarg.arg) if given.kwarg is not None else None
    defaults = {
        name: ast.Constant(_COMPUTED) if name in computed else default for name, default in _defaults(node).items()
    }
    positional = [*given.posonlyargs, *given.args]
    arguments.defaults = [defaults[each.arg] for each in positional if each.arg in defaults]
    arguments.kw_defaults = [defaults.get(each.arg) for each in given.kwonlyargs]
    if _yields(node):
        signature.body = [ast.Expr(ast.Yield(None))]
    module = ast.fix_missing_locations(ast.Module([signature], []))
    names: dict[str, FunctionType] = {}
    exec(compile(module, "<signature>", "exec"), names)
    return names["stub"]


def _yields(node: _Definition) -> bool:
    """Whether a definition is a generator's; what is defined inside it is another matter."""
    ahead: list[ast.AST] = list(node.body)
    while ahead:
        each = ahead.pop()
        if isinstance(each, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            ahead.extend(ast.iter_child_nodes(each))
    return False
