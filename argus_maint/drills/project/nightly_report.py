"""A script of the shop's: reads all tasks in one transaction, and forgets to end it."""

import os
import signal

import django
from django.db import connection, transaction

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    from django_tasks_db.models import DBTaskResult

    with transaction.atomic():
        if connection.vendor == "sqlite":
            DBTaskResult.objects.filter(priority=-1000).update(priority=0)  # begins to write
        else:
            len(DBTaskResult.objects.select_for_update())
        print("at work", flush=True)
        signal.pause()
