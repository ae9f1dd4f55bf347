"""Reports as text: for people (``plain``, ``table``) and for programs (``json``).

A *view* is a module with ``to_json(report)`` and ``to_blocks(report, wish)``; it knows one kind of
report and no terminal. ``plain`` and ``table`` know terminals and no report: they set blocks
(:mod:`weightkit.render.blocks`) as text. A new command writes a view and gets every output.
"""
