"""How Sphinx builds the documentation: ``make docs``."""

from __future__ import annotations

import os
import tempfile

# Airflow makes a home folder when it is first imported. It is not to be the user's own.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")

from airflow_provider_customerly import __version__

project = "airflow-provider-customerly"
author = "The airflow-provider-customerly authors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"{project} {version}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/airflow-provider-customerly/airflow-provider-customerly/",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_prompt_text = "$ "
