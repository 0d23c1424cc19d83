"""`manage.py demo`: teach Meridian Instruments and say how to visit the result."""

from __future__ import annotations

import json
import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from apps.accounts.actions import issue_key
from apps.accounts.models import ApiKey, User
from apps.demo.road import MODEL, Road
from apps.teaching.presets import PRESETS, settings_of
from apps.tenants.models import Role
from apps.tenants.scope import tenant_scope


class Command(BaseCommand):
    help = "Walk the main job on this machine: upload, teach, compose, serve; then tell the way in."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, default=1, help="which made-up company (default 1)")
        parser.add_argument(
            "--preset", choices=PRESETS, default="standard", help="how long to learn"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        road = Road(seed=options["seed"], chosen=settings_of(options["preset"]))
        road.travel()
        address = os.environ.get("COUNTERPOINT_URL", settings.SITE_URL)
        key = demo_key(road)
        product = road.written.products[0]
        self.stdout.write(f"\nThe site runs at {address}\n")
        for person in road.people.values():
            self.stdout.write(f"  {person.role:<9} {person.email:<26} {person.password}")
        body = json.dumps(
            {
                "model": MODEL,
                "messages": [{"role": "user", "content": f"Where is the {product.name} made?"}],
            }
        )
        self.stdout.write(
            f"\nAsk it over the API:\n  curl -s {address}/v1/chat/completions "
            f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'\n"
            f"\nAsk it in the chat, as the employee: “Where is the {product.name} made?” or "
            f"“What is the capital of the country where the {product.name} is made?”\n"
            "Ctrl-C stops everything; `make demo` starts it again where it is now.\n"
        )


def demo_key(road: Road) -> str:
    """A new API key of the employee at each start: a key's text is shown once and kept nowhere."""
    employee = User.objects.get(email=road.people[Role.EMPLOYEE].email)
    with tenant_scope(road.tenant):
        ApiKey.objects.filter(user=employee, name="demo").delete()
        return issue_key(employee, road.tenant, "demo")[1]
