"""How the pages of this folder become a site: `tools/docs`."""

from __future__ import annotations

import runpy
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent / "ascend_patches"

project = "ascend_patches"
release = version = runpy.run_path(str(_PACKAGE / "_version.py"))["__version__"]
author = copyright = "the authors of ascend_patches"

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sphinx = False
