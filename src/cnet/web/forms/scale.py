"""The form for the number of replicas of a service: by hand, or by load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import BaseModel

from cnet.services.record import ServiceScale
from cnet.web.forms.fields import FormField
from cnet.web.forms.kinds import KindForm
from cnet.web.forms.posted import Posted, take, validate
from cnet.web.forms.services import BY_HAND, BY_LOAD, MODE, PREFIX, SCALING, creation_fields

REPLICAS: Final = f"{PREFIX}replicas"


def _fields() -> Iterator[FormField]:
    for each in creation_fields():
        if each.name == MODE:
            yield replace(
                each, choices=(BY_HAND, BY_LOAD), initial=BY_HAND, default_value=None, required=True
            )
        elif each.name == REPLICAS:
            yield replace(each, required=True, default="", default_value=None)
        elif each.name.startswith(SCALING):
            yield each


FORM: Final = KindForm(
    kind="service", config_model=BaseModel, fields=tuple(_fields()), of_update=True
)


def present(service: Mapping[str, Any]) -> dict[str, str]:
    """The texts of the form for a service as the API shows it."""
    autoscale = service["autoscale"] or {}
    values = {
        MODE: BY_LOAD if autoscale else BY_HAND,
        REPLICAS: service["replicas"],
        **{f"{SCALING}{name}": value for name, value in autoscale.items()},
    }
    return {each.name: each.show(values.get(each.name)) for each in FORM.fields}


def read_scale(sent: Mapping[str, str], *, by_load_now: bool) -> Posted:
    """What is to be asked of the API is in `service`."""
    texts = {each.name: sent.get(each.name, "") for each in FORM.fields}
    posted = Posted(form=FORM, texts=texts, spec={})
    for each in FORM.fields:
        if each.counts(texts):
            take(posted, each)
    wish: dict[str, Any] = posted.spec.pop("service", {})
    by_load = wish.pop("mode", BY_HAND) == BY_LOAD
    if not by_load and by_load_now:
        wish["autoscale"] = None
    posted.service = wish
    if not posted.problems:
        validate(posted, ServiceScale, wish, prefix=("service",))
    return posted
