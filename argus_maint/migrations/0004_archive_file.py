"""Files of archived tasks (see ``argus_maint.backends.archive``)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """One table more."""

    dependencies = [
        ("argus_maint", "0003_finished_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="ArchiveFile",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("host", models.CharField(help_text="That writes it.", max_length=255)),
                ("folder", models.CharField(max_length=255)),
                ("name", models.CharField(max_length=191, unique=True)),
                ("backend_name", models.CharField(max_length=32)),
                ("day", models.DateField(help_text="UTC day of the prune.")),
                ("committed", models.BigIntegerField(default=0, help_text="Bytes that count.")),
                ("rows", models.BigIntegerField(default=0)),
                ("first_finished_at", models.DateTimeField(null=True)),
                ("last_finished_at", models.DateTimeField(null=True)),
                ("changed_at", models.DateTimeField()),
            ],
        ),
    ]
