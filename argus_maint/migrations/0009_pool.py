from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("argus_maint", "0008_task_key"),
    ]

    operations = [
        migrations.AlterField(
            model_name="process",
            name="kind",
            field=models.CharField(
                choices=[
                    ("supervisor", "Supervisor"),
                    ("worker", "Worker"),
                    ("watcher", "Watcher"),
                    ("scheduler", "Scheduler"),
                    ("pool", "Pool"),
                ],
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="SignalCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_name", models.CharField(max_length=32)),
                (
                    "event",
                    models.CharField(
                        help_text="enqueued, started, successful, failed.", max_length=16
                    ),
                ),
                ("total", models.BigIntegerField(default=0)),
                ("changed_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend_name", "event"), name="argus_maint_signal_count_of"
                    )
                ],
            },
        ),
    ]
