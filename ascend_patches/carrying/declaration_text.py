"""The declaration of a carried patch, as text: the same input gives the same bytes."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from ascend_patches.carrying import placing
from ascend_patches.carrying.change import module_of
from ascend_patches.carrying.fields import fields_of
from ascend_patches.carrying.inventory import parsed
from ascend_patches.carrying.new_modules import without_puts
from ascend_patches.carrying.ordering import bound_name, ordered, parts
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.reliances import Reliance, Reliances, forms
from ascend_patches.carrying.results import Definition, Result
from ascend_patches.upstream import fingerprints

_DISTRIBUTIONS = {"vllm_ascend": "vllm-ascend", "vllm": "vllm"}


def declaration(result: Result, code: Code, name: str, missing: str) -> str:
    """The module that holds PATCH."""
    versions = _versions(result, code)
    gate = " & ".join(_gate(package, version) for package, version in versions) or "always"
    groups = parts(ordered(result.carried))
    relied = [Reliances(group, result, code).known for group in groups]
    native = _native(result)
    names = {"Carried", "Patch", "Variant"} | ({"Part"} if len(groups) > 1 else set())
    names |= {word for word in ("always", "installed", "version_in") if word in gate}
    names |= {"Exemption", "always"} if native else set()
    lines = [f'"""{_one_line(result.change.subject)}, carried onto {_shown(versions)}."""', ""]
    lines += ["from pathlib import Path", "", f"from ascend_patches import {', '.join(sorted(names))}", ""]
    lines += ['AFTER = Path(__file__).parent / "after"', "", "PATCH = Patch("]
    lines += [
        f"    name={name!r},",
        f"    summary={_one_line(result.change.subject)!r},",
        f"    why={_why(result, missing)!r},",
    ]
    lines += [f"    upstream={tuple(_provenance(result))!r},"]
    lines += [f"    retire={'once the oldest release in use has ' + (_number(result) or 'the change')!r},"]
    lines += ["    variants=(", "        Variant(", f"            {_shown(versions)!r},", f"            gate={gate},"]
    if len(groups) == 1:
        lines += _rewrites(groups[0], relied[0], code, 12)
    else:
        lines += ["            parts=("]
        for index, (group, reliances) in enumerate(zip(groups, relied, strict=True), 1):
            lines += ["                Part(", f"                    {_part_name(group, index)!r},"]
            lines += [*_rewrites(group, reliances, code, 20), "                ),"]
        lines += ["            ),"]
    known = {each.target: each.fingerprints for reliances in relied for each in reliances}
    lines += [
        "            known={",
        *(f"                {target!r}: {prints!r}," for target, prints in sorted(known.items())),
    ]
    lines += ["            },", "        ),", "    ),"]
    lines += native
    return "\n".join([*lines, ")", ""])


def _rewrites(group: list[Definition], reliances: list[Reliance], code: Code, indent: int) -> list[str]:
    space = " " * indent
    lines = [f"{space}rewrites=("]
    for definition in group:
        if definition.is_field:
            together = [each for each in group if each.is_field and _class_of(each) == _class_of(definition)]
            written = [_fields(together, code)] if together[0] is definition else []
        else:
            written = _carried(definition, code)
        lines += [f"{space}    {line}" for line in written]
    lines += [f"{space}),", f"{space}relies_on=("]
    return [*lines, *(f"{space}    {each.target!r}," for each in reliances), f"{space}),"]


def _replaced(target: str, code: Code) -> str:
    """The fingerprints of the function that a statement puts another one in the place of, as an argument."""
    function = placing.function_at(code, target)
    known, _ = forms(code, target, function) if function is not None else ((), "")
    return f"fingerprints={known!r}, " if known else ""


def _class_of(definition: Definition) -> str:
    return f"{module_of(definition.file)}:{definition.scope}"


def _fields(definitions: Sequence[Definition], code: Code) -> str:
    """The rewrite that gives a dataclass further fields."""
    first = definitions[0]
    place = code.class_at(module_of(first.file), first.scope)
    was = ", ".join(fields_of(place.node)) if place is not None else ""
    value = ", ".join(each.path.rpartition(".")[2] for each in definitions)
    prints = " ".join(_fingerprint(each.text) for each in definitions)
    file = f"str(AFTER / {first.file!r})"
    target = f"{_class_of(first)}.__dataclass_fields__"
    return f"Carried({target!r}, {file}, 'fields', was={was!r}, value={value!r}, code={prints!r}),"


def _carried(definition: Definition, code: Code) -> list[str]:
    """The rewrites of one definition."""
    home = module_of(definition.file)
    file = f"str(AFTER / {definition.file!r})"
    print_after = _fingerprint(definition.text)
    if definition.kind == "statement":
        value = definition.text.rpartition(" = ")[2].strip()
        return [
            f"Carried({target!r}, {file}, 'alias', {prints}home={home!r}, value={value!r}, code={print_after!r}),"
            for target in definition.also_at
            for prints in [_replaced(target, code)]
        ]
    if definition.kind == "module":
        parent, _, name = home.rpartition(".")
        print_after = fingerprints.of_node(fingerprints.parse(without_puts(definition.text))) or ""
        return [f"Carried('{parent}:{name}', {file}, 'module', home={home!r}, code={print_after!r}),"]
    target = f"{home}:{bound_name(definition)}"
    if definition.kind == "class" and definition.verdict == "exact":
        was, now = _bases(definition.before), _bases(definition.text)
        return [f"Carried('{target}.__bases__', {file}, 'bases', was={was!r}, value={now!r}, code={print_after!r}),"]
    if definition.verdict == "added":
        return [f"Carried({target!r}, {file}, 'added', code={print_after!r}),"]
    if definition.kind in ("attribute", "import"):
        return [f"Carried({target!r}, {file}, 'value', was={definition.before.strip()!r}, code={print_after!r}),"]
    prints = (_fingerprint(definition.before),)
    found = [f"Carried({target!r}, {file}, 'function', fingerprints={prints!r}, code={print_after!r}),"]
    return found + [
        f"Carried({place!r}, {file}, 'alias', home={home!r}, value={definition.path!r}, code={print_after!r}),"
        for place in definition.also_at
    ]


def _bases(text: str) -> str:
    node = parsed(text)
    return ", ".join(ast.unparse(base) for base in node.bases) if isinstance(node, ast.ClassDef) else ""


def _native(result: Result) -> list[str]:
    """How code that has the change already is recognised: by what it looks like afterwards."""
    after = {
        f"{module_of(each.file)}:{each.path}": _fingerprint(each.theirs or each.text)
        for each in result.carried
        if each.kind == "function" and each.verdict in ("exact", "merged") and not each.reason.startswith("moved")
    }
    if not after:
        return []
    lines = ["    exemptions=(", "        Exemption(", "            ~always,"]
    lines += [f"            {'upstream after ' + (_number(result) or 'the change')!r},", "            native=True,"]
    lines += ["            targets=(", *(f"                {target!r}," for target in sorted(after)), "            ),"]
    lines += ["            fingerprints={", *(f"                {key!r}: {after[key]!r}," for key in sorted(after))]
    return [*lines, "            },", "        ),", "    ),"]


def _versions(result: Result, code: Code) -> list[tuple[str, str]]:
    packages = sorted({each.file.partition("/")[0] for each in result.carried}, reverse=True)
    named = [_DISTRIBUTIONS.get(package, package) for package in packages]
    return [(name, (code.versions.get(name) or "").partition("+")[0]) for name in named]


def _gate(package: str, version: str) -> str:
    return f"version_in({package!r}, {'==' + version!r})" if version else f"installed({package!r})"


def _shown(versions: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {version}".strip() for name, version in versions)


def _why(result: Result, missing: str) -> str:
    body = result.change.commits[-1].body if result.change.commits else ""
    lines = [line.strip() for line in body.split("\n")]
    text = " ".join(
        line for line in lines if line and not line.startswith(("#", "-", "Signed-off-by", "Co-authored-by"))
    )
    shortened = text if len(text) <= 400 else f"{text[:397].rpartition(' ')[0]}..."
    return f"{missing}{shortened or result.change.subject}"


def _provenance(result: Result) -> list[str]:
    lines = []
    for commit in (*(each.commit for each in result.prerequisites), *result.change.commits):
        parts_of_it = [_one_line(commit.subject), commit.sha[:12], commit.author, commit.date]
        lines.append(", ".join(part for part in parts_of_it if part))
    return lines or [result.change.source]


def _number(result: Result) -> str:
    return f"#{result.change.number}" if result.change.number else ""


def _one_line(text: str) -> str:
    return " ".join(text.replace('"""', "'''").replace("\\", "/").split()) or "An upstream change"


def _part_name(group: list[Definition], index: int) -> str:
    return f"{index}: {module_of(group[0].file).rpartition('.')[2]}"


def _fingerprint(text: str) -> str:
    node = parsed(text)
    return (fingerprints.of_node(node) if node is not None else None) or ""
