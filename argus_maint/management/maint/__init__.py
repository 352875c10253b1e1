"""The subcommands of ``manage.py maint``, one module each.

Each has ``NAME``, ``SUMMARY``, ``HELP``, ``EXAMPLES``, ``add_arguments(parser)`` and
``run(context, options)``, which returns the exit status. A new one goes into
``SUBCOMMANDS`` of ``management.commands.maint``.
"""
