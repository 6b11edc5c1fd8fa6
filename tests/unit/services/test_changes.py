"""What users ask of a service, as a new record."""

from __future__ import annotations

from typing import Any

import pytest

from cnet.errors import CnetError, ConflictError, NotFoundError
from cnet.services import changes
from cnet.services.record import (
    VERSIONS_KEPT,
    ServiceRecord,
    ServiceRollback,
    ServiceScale,
    ServiceTraffic,
    ServiceUpdate,
    number_of,
    replica_spec,
)
from tests.unit.services.world import service, update


def done(record: ServiceRecord) -> ServiceRecord:
    return changes.taken_over(record, now=1.0)


def shares(record: ServiceRecord) -> dict[str, int | None]:
    return {version.name: version.weight for version in record.serving()}


def test_a_record_survives_the_disk() -> None:
    record = update(service(autoscale={"max": 3}), weight=20)
    assert ServiceRecord.model_validate_json(record.model_dump_json()) == record


def test_weights_of_canaries_come_out_of_all_others() -> None:
    record = update(update(service(), weight=20), weight=50, version="c")
    assert shares(record) == {"v1": 4000, "v2": 1000, "c": 5000}


def test_versions_that_serve_no_more_are_kept_up_to_a_number() -> None:
    record = service()
    for _ in range(VERSIONS_KEPT + 5):
        record = done(update(record))
    assert len(record.versions) == VERSIONS_KEPT + 1
    assert record.versions[-1].name == f"v{VERSIONS_KEPT + 6}" and shares(record) == {
        record.versions[-1].name: 100
    }


def test_back_to_the_version_before_and_to_any() -> None:
    record = done(update(done(update(service()))))
    back = changes.rolled_back(record, ServiceRollback(), now=1)
    assert back.rollout is not None and back.rollout.target == "v2"
    first = changes.rolled_back(record, ServiceRollback(version="v1"), now=1)
    assert first.rollout is not None and first.rollout.target == "v1"
    canary = changes.rolled_back(update(service(), weight=10), ServiceRollback(), now=1)
    assert shares(canary) == {"v1": 100} and canary.rollout is None


def test_an_update_that_is_rolled_back_under_way_is_given_up() -> None:
    record = changes.rolled_back(update(service()), ServiceRollback(), now=1)
    assert record.rollout is None and shares(record) == {"v1": 100}
    assert record.version("v2").failure == "rolled back by a user"


def test_the_number_of_one_version_ends_with_the_next_scale() -> None:
    record = update(service(replicas=3), weight=10, replicas=1)
    assert [record.wanted(version) for version in record.serving()] == [3, 1]
    record = changes.scaled(record, ServiceScale(replicas=2, version="v2"), now=1)
    assert [record.wanted(version) for version in record.serving()] == [3, 2]
    record = changes.scaled(record, ServiceScale(replicas=5), now=1)
    assert [record.wanted(version) for version in record.serving()] == [5, 5]


def test_scaling_by_load_begins_with_what_there_is_and_is_kept_by_updates() -> None:
    record = service(replicas=4)
    wish = ServiceScale.model_validate({"autoscale": {"min": 1, "max": 10}})
    record = changes.by_load(changes.scaled(record, wish, now=1), "v1", 7)
    assert record.wanted(record.version("v1")) == 7
    record = update(record)
    assert record.wanted(record.version("v2")) == 7
    ended = ServiceScale.model_validate({"autoscale": None, "replicas": 2})
    assert record.wanted(changes.scaled(done(record), ended, now=1).version("v2")) >= 1


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (lambda it: update(it, version="v1"), ConflictError, "is a version of iris already"),
        (
            lambda it: changes.shared(it, ServiceTraffic(weights={"v7": 1}), now=1),
            NotFoundError,
            "weights.v7: iris has no version 'v7'; there are: v1",
        ),
        (
            lambda it: changes.rolled_back(it, ServiceRollback(version="v1"), now=1),
            ConflictError,
            "serves already",
        ),
        (
            lambda it: changes.scaled(it, ServiceScale(replicas=1, version="v9"), now=1),
            NotFoundError,
            "has no version",
        ),
        (
            lambda it: changes.updated(changes.deleted(it, now=1), ServiceUpdate(hold_s=1), now=1),
            ConflictError,
            "is being deleted",
        ),
        (lambda it: update(update(it), weight=5), ConflictError, "is being updated to v2"),
    ],
)
def test_refusals(change: Any, kind: type[CnetError], says: str) -> None:
    with pytest.raises(kind) as refused:
        change(service())
    assert says in refused.value.message


def test_replicas_are_known_by_their_ids_and_not_by_labels_that_anybody_may_write() -> None:
    record = service()
    spec = replica_spec(record, record.versions[0], 7)
    assert number_of(record, spec) == (1, 7)
    assert spec == replica_spec(record, record.versions[0], 7)
    forged = spec.model_copy(update={"labels": spec.labels | {"cnet.replica": "1.8"}})
    assert number_of(record, forged) is None
    assert number_of(service("other").model_copy(update={"id": spec.id}), spec) is None
