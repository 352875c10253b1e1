"""What makes the documentation site: pages from the code, and checks of what was built.

``hook`` is what mkdocs calls. ``commands``, ``settings``, ``schemas`` and ``runbooks`` each
give pages as Markdown, by their path in the site; only ``hook`` knows mkdocs. ``walk`` runs
the commands of a page, and ``built`` looks at the site that came out.
"""
