"""Settings of a small Argus site: what its documentation asks of a site, and no more.

argus_maint is not named here. It comes in by the environment variable
ARGUS_OVERRIDING_APPS alone, as it would on a site that is already there.
"""

from __future__ import annotations

import os

from argus.htmx.settings import *  # noqa: F403

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["127.0.0.1"]
MEDIA_PLUGINS = ["argus.notificationprofile.media.email.EmailNotification"]
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
