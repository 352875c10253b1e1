"""How far something is: a bar on a terminal, elsewhere one line for each thing begun."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

from argus_maint.management.maint.context import Context


@contextmanager
def shown(context: Context, *columns: ProgressColumn) -> Generator[Callable[..., None], None, None]:
    """Gives ``tell(what, done, total, note)``; a total of 0 means that nobody knows it."""
    ours = (TextColumn("{task.description}"), BarColumn(bar_width=20), *columns)
    note_column = TextColumn("{task.fields[note]}")
    bar = Progress(*ours, note_column, console=context.err.console, transient=True)
    lines: set[str] = set()

    def tell(what: str, done: float, total: float, note: str = "") -> None:
        if context.err.terminal:
            if not bar.task_ids:
                bar.add_task(what, total=None, note=note)
                bar.start()
            (task,) = bar.task_ids
            bar.update(task, description=what, completed=done, total=total or None, note=note)
        elif what not in lines:
            lines.add(what)
            context.note(what)

    try:
        yield tell
    finally:
        if bar.task_ids:
            bar.stop()
