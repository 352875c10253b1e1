"""Samples of the task table's size (``argus_maint.models.StorageSample``)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("argus_maint", "0004_archive_file")]

    operations = [
        migrations.CreateModel(
            name="StorageSample",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("taken_at", models.DateTimeField()),
                ("table_bytes", models.BigIntegerField()),
                ("index_bytes", models.BigIntegerField()),
                ("free_bytes", models.BigIntegerField(null=True)),
                ("rows_estimate", models.BigIntegerField(null=True)),
                ("measured", models.CharField(max_length=32)),
                (
                    "rebuilt",
                    models.JSONField(
                        default=dict, help_text="Indexes rebuilt, and their bytes after."
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["taken_at"], name="argus_maint_storage_taken")],
            },
        ),
    ]
