"""Whether a call fits a function, by the text of both."""

from __future__ import annotations

import ast

from ascend_patches.carrying.usage import Called

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def refusal(function: _Function, call: Called, bound: bool) -> str:
    """Why a function cannot take a call; empty if it can. ``bound`` says that the first parameter is given already."""
    arguments = function.args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][1 if bound else 0 :]
    by_name = {argument.arg for argument in (*arguments.args, *arguments.kwonlyargs)}
    unknown = [keyword for keyword in call.keywords if keyword not in by_name]
    if unknown and arguments.kwarg is None:
        return f"has no parameter {unknown[0]!r}"
    if call.count is None or call.starred_keywords:
        return ""
    if call.count > len(positional) and arguments.vararg is None:
        return f"takes {len(positional)} positional arguments, and is given {call.count}"
    required = positional[: max(0, len(positional) - len(arguments.defaults))][call.count :]
    required += [
        argument.arg
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    missing = [name for name in required if name not in call.keywords]
    if missing:
        return f"needs {missing[0]!r}, which the call does not give"
    return ""


def other_place(before: _Function, after: _Function, call: Called, bound: bool) -> tuple[str, str] | None:
    """The parameter that an argument was for by its place, and the other one that it is for now."""
    names = [
        [argument.arg for argument in (*each.args.posonlyargs, *each.args.args)][1 if bound else 0 :]
        for each in (before, after)
    ]
    old, new = names
    for was, now in zip(old[: call.count], new[: call.count], strict=False):
        # A parameter that only got another name keeps its place.
        if was != now and (was in new or now in old):
            return was, now
    return None


def parameters(function: _Function) -> str:
    """A function's parameters as code, annotations aside."""
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    padded = [""] * (len(names) - len(arguments.defaults)) + [ast.unparse(each) for each in arguments.defaults]
    keyword = [
        f"{argument.arg}={ast.unparse(default) if default is not None else ''}"
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    rest = [f"*{arguments.vararg.arg if arguments.vararg else ''}", *keyword]
    rest += [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
    shown = [f"{name}={default}" for name, default in zip(names, padded, strict=True)]
    return f"{len(arguments.posonlyargs)}:{','.join(shown)};{','.join(rest)}"


def returned(function: _Function) -> set[int]:
    """How many values a function returns: the lengths of the tuples that it returns, 1 for anything else."""
    found: set[int] = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return set()
        if isinstance(node, ast.Return):
            if isinstance(node.value, ast.Tuple) and not any(isinstance(e, ast.Starred) for e in node.value.elts):
                found.add(len(node.value.elts))
            elif node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
                found.add(1)
            else:
                found.add(0)
        waiting += list(ast.iter_child_nodes(node))
    return found


def is_static(function: _Function) -> bool:
    return any(ast.unparse(each) == "staticmethod" for each in function.decorator_list)


def nature(function: _Function) -> str:
    """What a function is to those that use it."""
    decorators = [ast.unparse(each).partition("(")[0] for each in function.decorator_list]
    kind = "a coroutine" if isinstance(function, ast.AsyncFunctionDef) else "a function"
    if _yields(function):
        kind = "an async generator" if kind == "a coroutine" else "a generator"
    for name in decorators:
        last = name.rpartition(".")[2]
        if last in ("property", "cached_property") or name.endswith((".setter", ".getter", ".deleter")):
            return f"a property of {kind}"
        if last in ("staticmethod", "classmethod", "contextmanager", "asynccontextmanager"):
            kind = f"{kind} under @{last}"
    return kind


def _yields(function: _Function) -> bool:
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.Yield, ast.YieldFrom)):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += list(ast.iter_child_nodes(node))
    return False


def is_super(call: ast.Call, name: str) -> bool:
    """Whether a call is ``super().name(...)``."""
    function = call.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr == name
        and isinstance(function.value, ast.Call)
        and ast.unparse(function.value.func) == "super"
    )
