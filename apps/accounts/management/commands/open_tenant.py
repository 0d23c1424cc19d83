"""`manage.py open_tenant`: a tenant with its first curator; how every installation begins."""

from __future__ import annotations

import getpass
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.text import slugify

from apps.accounts.actions import invite, open_tenant
from apps.tenants.models import Role, Tenant
from calm_engine.errors import InputError
from calm_engine.wording import sentence


class Command(BaseCommand):
    help = "Open a tenant, and invite its first curator."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="of the organisation, such as 'Meridian Instruments'")
        parser.add_argument("email", help="of the first curator")
        parser.add_argument("--slug", help="short name (default: made from the name)")
        parser.add_argument("--person", default="", help="the curator's name")

    def handle(self, *_args: Any, **options: Any) -> None:
        slug = options["slug"] or slugify(options["name"])
        # Never an argument: those are readable in the list of processes.
        password = os.environ.get("CURATOR_PASSWORD") or getpass.getpass("Password: ")
        person = options["person"] or options["email"].partition("@")[0]
        try:
            tenant = Tenant.objects.filter(slug=slug).first() or open_tenant(options["name"], slug)
            invite(tenant, options["email"], person, Role.CURATOR, password)
        except InputError as error:
            raise CommandError(sentence(error)) from error
        self.stdout.write(f"{tenant.name} ({tenant.slug}) is open; {options['email']} curates it.")
