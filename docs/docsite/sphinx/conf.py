# SPDX-License-Identifier: GPL-3.0-or-later
"""The site that `make docs` builds: Markdown pages of docs, and reference pages that antsibull-docs writes."""

project = "qingcloud.cni"
author = "The qingcloud.cni developers"
project_copyright = author
title = html_title = html_short_title = "qingcloud.cni"
extensions = ["sphinx_antsibull_ext", "myst_parser"]
myst_heading_anchors = 4
highlight_language = "YAML+Jinja"
html_theme = "sphinx_ansible_theme"
html_theme_options = {"vcs_pageview_mode": "blob", "topbar_links": {}, "display_version": False}
html_show_sphinx = False
html_use_smartypants = False
smartquotes = False
suppress_warnings = [
    "myst.xref_missing",  # links to files of the repository that are no pages
    "myst.header",  # pages of one table begin below the first level
    "misc.highlighting_failure",  # mermaid
    "ref.ref",  # labels of ansible-core's own documentation, which is not at hand
]
