"""A build backend that builds nothing.

``pip download`` asks the backend of every sdist for its metadata, for which vllm-ascend's would want torch_npu, a
compiler and CANN. The metadata is in the sdist already; so none of the sdist's code has to run to fetch it.
"""

from __future__ import annotations

import os
import shutil
from email.parser import HeaderParser


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: object = None) -> str:
    with open("PKG-INFO", encoding="utf-8") as stream:
        headers = HeaderParser().parse(stream)
    folder = f"{headers['Name'].replace('-', '_')}-{headers['Version']}.dist-info"
    os.makedirs(os.path.join(metadata_directory, folder))
    shutil.copyfile("PKG-INFO", os.path.join(metadata_directory, folder, "METADATA"))
    return folder
