"""The index that says which tasks finished when (see ``argus_maint.indexes``)."""

from typing import Any

from django.db import migrations

from argus_maint import indexes


def create(apps: Any, schema_editor: Any) -> None:
    indexes.create(indexes.FINISHED, schema_editor.connection.alias)


def drop(apps: Any, schema_editor: Any) -> None:
    indexes.drop(indexes.FINISHED, schema_editor.connection.alias)


class Migration(migrations.Migration):
    """Not atomic: PostgreSQL builds the index concurrently."""

    atomic = False
    dependencies = [
        ("argus_maint", "0002_running_index"),
        (
            "django_tasks_database",
            "0019_rename_django_task_new_ordering_idx_tasks_db_new_ordering_idx_and_more",
        ),
    ]
    operations = [migrations.RunPython(create, drop, elidable=False)]
