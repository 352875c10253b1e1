"""The demo: kills real workers in the middle of their tasks, and shows the tasks come back.

Using it: ``python -m argus_maint.demo``. It makes a Django project on SQLite in a
temporary folder, starts two supervisors, kills a worker and then a whole supervisor,
checks what became of every task, and removes everything it made. It takes about 20 s.

Exit status: 0 when every task ended exactly once, 1 when anything was off, 2 for wrong
arguments, 130 when interrupted.
"""
