"""What becomes of the modules that a change adds, and of the imports that are there to run them."""

from __future__ import annotations

import ast
from collections import Counter

from ascend_patches.carrying import new_modules, placing
from ascend_patches.carrying.change import Change, FileChange
from ascend_patches.carrying.effects import module_run_by
from ascend_patches.carrying.inventory import Inventory, Item, inventory
from ascend_patches.carrying.items import Items
from ascend_patches.carrying.release_code import Code
from ascend_patches.carrying.results import Definition
from ascend_patches.carrying.sides import Sides


class NewModules:
    """Judges the modules that a change adds as a whole."""

    def __init__(self, change: Change, code: Code, items: Items) -> None:
        self.change = change
        self.code = code
        self.items = items
        self.definitions = items.definitions
        self.run_by_packages: set[str] = set()
        """Those that a module of the release would import only to run them."""

    def judge(self, file: FileChange, after: Inventory) -> None:
        package = file.path.rpartition("/")[0]
        definition = Definition(f"{file.module}:(module)", file.path, "module", "added", theirs=file.after or "")
        self.definitions.append(definition)
        added = {each.path: each.after for each in self.change.files if each.before is None and each.after is not None}
        layered = self.code.over(dict(added))
        if not file.path.endswith("__init__.py"):
            if layered.path_of(package.replace("/", ".")) is None:
                definition.refuse("not there", f"the release has no package {package.replace('/', '.')}")
                return
        elif any(path.startswith(f"{package}/") for path in self.code.paths()):
            definition.refuse("cannot", "the release has this package without a file of its own, and it is imported")
            return
        definition.text = after.text
        said = new_modules.refusal(layered, file.module, after.tree)
        if said:
            definition.refuse("cannot", f"a new module that cannot be taken back: {said}")
            return
        for put in new_modules.puts(after.tree):
            node = ast.parse(put.text).body[0]
            item = Item(f"statement {put.text}", "statement", node, "", ())
            one = Definition(f"{file.module}:(module)", file.path, "statement", "added", theirs=put.text)
            one.order = put.lines[0]
            self.definitions.append(one)
            self.items.sides[id(one)] = Sides(None, item, None, inventory(""), after, inventory(""), file.path)
            placing.place(one, item, self.code, layered, file.path)
        twice = [place for place, count in Counter(self._places(file.path)).items() if count > 1]
        if twice:
            definition.refuse("cannot", f"it sets {twice[0]} twice")

    def _places(self, file: str) -> list[str]:
        """What the statements of a file put something at."""
        return [place for each in self.definitions if each.file == file for place in each.also_at]

    def are_run_by(self, definition: Definition, sides: Sides) -> bool:
        """Whether an import only runs a module that the change adds: that goes in place together with it."""
        new = {each.module for each in self.definitions if each.kind == "module" and each.is_carried}
        alias, node = sides.new.alias, sides.new.node
        module = self.code.module_at(sides.place)
        if alias is None or module is None or sides.old is not None or sides.new.conditions or sides.new.scope:
            return False
        names = {alias.name}
        if isinstance(node, ast.ImportFrom):
            names = {self.code.absolute(module, node), f"{self.code.absolute(module, node)}.{alias.name}"}
        layered = self.code.over({each.file: each.text for each in self.definitions if each.kind == "module"})
        if not names & new or not module_run_by(sides.new, sides.after, sides.place, layered):
            return False
        self.run_by_packages |= names & new
        return True

    def heed_imports(self) -> None:
        """A module that nothing imports does nothing; what one sets when it is run late would be set too early."""
        for definition in [each for each in self.definitions if each.kind == "module" and each.is_carried]:
            if definition.module in self.run_by_packages:
                continue
            at_once, late = new_modules.imported_by(definition.module, self.definitions)
            if not at_once and not late:
                definition.doubts.append(f"nothing on the release imports {definition.module}")
            elif not at_once and new_modules.puts(inventory(definition.text).tree):
                definition.doubts.append(
                    f"{definition.module} is run by a call, and what it sets would be there before"
                )
