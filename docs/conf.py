import builtins
from pathlib import Path

import gserver

project = "gserver"
author = "gserver contributors"
project_copyright = f"2026, {author}"
version = release = gserver.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gserver {version}"
html_static_path = ["_static"] if Path(__file__).with_name("_static").exists() else []

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

# A name of ours that leads nowhere breaks the build. Names of others have no target here, for a
# build must not depend on the network.
nitpicky = True
nitpick_ignore = [("py:class", name) for name in ("optional", *dir(builtins))] + [
    ("py:exc", name) for name in dir(builtins)
]
# What hosts such as the gunicorn worker hand over is not for everybody, and has no page.
nitpick_ignore += [("py:class", "Listener"), ("py:class", "TlsContext")]
nitpick_ignore_regex = [("py:.*", r"(?!gserver\b)\w+(\.\w+)+")]
