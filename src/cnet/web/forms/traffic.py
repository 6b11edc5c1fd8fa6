"""Shares of the requests of a service, in percent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cnet.web.forms.posted import WHOLE, Problem

WHOLE_SHARE = 100
PREFIX = "weight."


def shares(weights: Mapping[str, int | None]) -> dict[str, int | None]:
    """Weights as whole percents that make up 100; None where a version does not serve."""
    serving = {name: weight for name, weight in weights.items() if weight is not None}
    total = sum(serving.values())
    if not total:
        return dict(weights)
    found = {name: WHOLE_SHARE * weight // total for name, weight in serving.items()}
    rests = sorted(serving, key=lambda name: -(WHOLE_SHARE * serving[name] % total))
    for name in rests[: WHOLE_SHARE - sum(found.values())]:
        found[name] += 1
    return {name: found.get(name) for name in weights}


def read_weights(
    names: Iterable[str], texts: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, Problem]]:
    """Version → percent of those that are to serve, and what is wrong by name of the field."""
    weights: dict[str, int] = {}
    problems: dict[str, Problem] = {}
    for name in names:
        text = texts.get(f"{PREFIX}{name}", "").strip()
        if not text:
            continue
        if not text.isdecimal() or int(text) > WHOLE_SHARE:
            problems[f"{PREFIX}{name}"] = Problem(
                message="must be a whole number from 0 to 100", type="no_share"
            )
        else:
            weights[name] = int(text)
    total = sum(weights.values())
    if not problems and total != WHOLE_SHARE:
        problems[WHOLE] = Problem(
            message=f"the shares make {total} %, not 100 %",
            type="share_sum",
            context={"total": total},
        )
    return weights, problems
