"""How the pages become a site: ``sphinx-build -W --keep-going docs build/site``."""

import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

from featcache import __version__  # noqa: E402 - of this checkout, whatever is installed

_described = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]
_urls = _described.get("urls", {})

project = _described["name"]
release = version = __version__
copyright = "the authors of featcache, under Apache-2.0"

extensions = ["myst_nb", "sphinx_copybutton", "repository_links", "described_arguments"]
exclude_patterns = ["_*"]

# The page that shows each file of the repository that lies outside of docs/.
repository_pages = {
    "index": "README.md",
    "inside/contributing": "CONTRIBUTING.md",
    "inside/changes": "CHANGELOG.md",
    "inside/data": "data/README.md",
    "inside/pipelines": "pipelines/README.md",
    "inside/security": "SECURITY.md",
}
# Where all others are looked at; GitHub's builds know their repository. Without an address they are named, not linked.
repository_url = _urls.get("Repository", "")
if not repository_url and "GITHUB_REPOSITORY" in os.environ:
    repository_url = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"

# Where lists that begin with a name are definitions.
described_pages = ["reference/api"]

# Anchors are spelt as GitHub spells them, where the same pages are read.
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
# Notebooks come with their outputs; tests execute them.
nb_execution_mode = "off"
highlight_language = "text"
# Examples leave out what does not matter ("…"), which no language has a word for.
suppress_warnings = ["misc.highlighting_failure"]
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_baseurl = _urls.get("Documentation", "")
# What is read is what the repository has; a second copy of each page is of no use.
html_copy_source = False
html_use_index = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
html_theme_options = {"navigation_with_keys": False}
if repository_url:
    html_theme_options |= {
        "source_view_link": f"{repository_url}/blob/main/docs/{{filename}}",
        "top_of_page_buttons": ["view"],
    }
