"""What is asked and answered by day: counts, for curators, of their own tenant."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from apps.chat.actions import ask, finish_reply, open_conversation
from apps.chat.models import Message, State
from apps.chat.usage import DAYS
from apps.tenants.scope import tenant_scope
from tests.apps.chat.making import MODEL, make_model
from tests.cast import Cast


def test_each_day_has_its_questions_and_tokens(cast: Cast) -> None:
    make_model(cast.north, cast.ada, cast.bo)
    with tenant_scope(cast.north):
        for days in (0, 0, 3, 400):
            reply = ask(open_conversation(MODEL, by=cast.bo), "A heron?", by=cast.bo)
            finish_reply(reply.pk, "No.", state=State.COMPLETE, usage={"total_tokens": 7})
            at = timezone.now() - timedelta(days=days)
            Message.objects.filter(conversation=reply.conversation).update(created_at=at)
    series = cast.client(cast.ada).get("/chat/usage.json").json()["series"]
    questions, tokens = (
        [value for _day, value in series[name]] for name in ("questions", "tokens")
    )
    assert len(questions) == DAYS
    assert (questions[-1], tokens[-1]) == (2, 14)
    assert (questions[-4], tokens[-4]) == (1, 7)
    assert (sum(questions), sum(tokens)) == (3, 21)
    assert "heron" not in str(series)
    other = cast.client(cast.cy).get("/chat/usage.json").json()["series"]
    assert sum(value for _day, value in other["questions"]) == 0
    assert cast.client(cast.bo).get("/chat/usage.json").status_code == 403
