"""The site's front page in a real browser, as wide as a desktop and as a phone."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installed_programs import program
from support import REPOSITORY

FRONT = "index.html"
PAGES = (FRONT, "operating.html", "compatibility.html", "zh/operating.html")
WIDTHS = {"desktop": 1280, "phone": 390}

MEASURE = """<!doctype html>
<iframe id="page" style="border:0;width:{width}px;height:900px"></iframe>
<pre id="found"></pre>
<script>
const frame = document.getElementById("page")
frame.onload = () => {{
  const page = frame.contentDocument, root = page.documentElement
  const loaded = frame.contentWindow.performance.getEntriesByType("resource").map(each => each.name)
  const texts = [...page.querySelectorAll("article p, article li, article h1")].filter(each => !each.closest("table"))
  const cut = texts.filter(each => each.getBoundingClientRect().right > root.clientWidth + 1)
  document.getElementById("found").textContent = "FOUND" + JSON.stringify({{
    client: root.clientWidth, scroll: root.scrollWidth, title: page.querySelector("h1").innerText, loaded,
    cut: cut.map(each => each.innerText.slice(0, 60)),
    images: [...page.images].filter(each => !each.naturalWidth).length
  }}) + "END"
}}
frame.src = "/{page}"
</script>
"""
"""A page around the page: what is inside a frame sees the frame's width as that of its window."""


@pytest.fixture(scope="module")
def site() -> Path:
    built = subprocess.run([sys.executable, REPOSITORY / "tools" / "docs"], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return REPOSITORY / "docs" / "_build" / "html"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site on a port of this machine, with the pages that measure beside its own."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.fullmatch(r"/measure/(\d+)/(.+)", self.path)
            if asked is None:
                super().do_GET()
                return
            body = MEASURE.format(width=asked[1], page=asked[2]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def seen_at(width: int, page: str, address: str, profile: Path) -> Any:
    """What the browser makes of a page at this width."""
    line = [program("chromium", "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    line += [f"--user-data-dir={profile}", "--virtual-time-budget=20000", f"--window-size={width + 100},1000"]
    done = subprocess.run([*line, f"{address}/measure/{width}/{page}"], capture_output=True, text=True, timeout=240)
    found = re.search(r"FOUND(\{.*\})END", done.stdout)
    assert found is not None, done.stderr[-3000:]
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_a_page_fits_and_needs_nothing_from_elsewhere(width: int, page: str, address: str, tmp_path: Path) -> None:
    found = seen_at(width, page, address, tmp_path)
    assert found["scroll"] <= found["client"] <= width
    assert found["cut"] == []
    assert found["images"] == 0
    assert [name for name in found["loaded"] if not name.startswith(address)] == []
    assert found["title"]


def test_the_front_page_stands_by_itself(site: Path) -> None:
    text = (site / FRONT).read_text(encoding="utf-8")
    article = text[text.index("<article") : text.index("</article>")]
    assert "README" not in article
    for shown in ("pip install .", "ascend-patches run", "mm-encoder-attention", "ASCEND_PATCHES=off"):
        assert shown in re.sub(r"<[^>]+>", "", article)
    links = re.findall(r'href="([^"#]+)', article)
    assert [link for link in links if "://" not in link and not (site / link).exists()] == []
    assert not [link for link in links if "://" in link]
