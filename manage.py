#!/usr/bin/env python
"""Django's command line for Portcullis."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from config.embedded import EmbeddedError, KeysMissing


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        settings.INSTALLED_APPS  # noqa: B018 (reading one loads them all)
    except (ImproperlyConfigured, KeysMissing, EmbeddedError) as error:
        sys.exit(f"Portcullis cannot start. {error}")  # the sentence says what to do; a traceback would hide it
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
