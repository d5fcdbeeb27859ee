"""How the pages of this folder become a site: `make docs`."""

project = "Taxi trips"
extensions = ["myst_parser"]
exclude_patterns = [".venv", "_build"]

# Every heading can be linked to, under the anchor that it has on GitHub.
myst_heading_anchors = 3

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_copyright = False
