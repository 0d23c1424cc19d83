"""What the pages of runs ask of the database: at most twelve queries each, whatever is on them."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.registry.models import Augmenter, Composition
from apps.runs.models import Run, RunSample, Slot
from apps.teaching.models import Plan
from apps.tenants.scope import tenant_scope
from tests.apps.runs.making import make_run
from tests.browser.making import fill
from tests.cast import Cast

MOST = 12
NO_QUESTION = ("SAVEPOINT", "RELEASE", "SET ", "RESET", "SELECT set_config", "BEGIN", "COMMIT")


def questions(cast: Cast, address: str) -> list[str]:
    """What a page asks, once ada has signed in."""
    client = cast.client(cast.ada)
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200, address
    told = [each["sql"].strip() for each in asked]
    return [sql for sql in told if not sql.startswith(NO_QUESTION)]


def addresses(cast: Cast) -> list[str]:
    """Pages of runs in every state, and of what is made of them. In North's scope."""
    rows = fill(cast)
    waiting = [make_run(cast.ada, name) for name in ("One", "Two")]
    working = Run.objects.get(state="running")
    Slot.objects.create(name=working.owner, device="CPU", memory_bytes=2**40, facts={"busy": 9})
    RunSample.objects.create(run=working, step=1, samples=[])
    working.checkpoints.create(step=10, epoch=0, bytes=9, digest="a" * 64)
    shown = [each for each in rows if isinstance(each, Run | Plan | Augmenter | Composition)]
    chosen = "&".join(f"run={run.pk}" for run in (*waiting, working))
    return [
        *(each.get_absolute_url() for each in (*shown, *waiting)),
        *("/runs/", "/runs/?state=queued", f"/runs/compare?{chosen}", "/runs/webhooks"),
        *("/teach/", f"{working.get_absolute_url()}log"),
    ]


def test_a_page_asks_at_most_twelve_times(cast: Cast) -> None:
    with tenant_scope(cast.north):
        pages = addresses(cast)
    asked = {address: questions(cast, address) for address in pages}
    dear = {address: sqls for address, sqls in asked.items() if len(sqls) > MOST}

    assert dear == {}, {address: len(sqls) for address, sqls in dear.items()}
