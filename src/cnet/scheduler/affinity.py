"""Terms of affinity and anti-affinity against what a node says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cnet.model.node import NodeState
from cnet.model.workload import Affinity, WorkloadSpec

ANY = "*"


def workloads_with(key: str, value: str, labels: Mapping[str, int]) -> int:
    """How many workloads of a node (`key=value` → count) carry a label; `*` is any value."""
    if value != ANY:
        return labels.get(f"{key}={value}", 0)
    prefix = f"{key}="
    return sum(count for pair, count in labels.items() if pair.startswith(prefix))


def workloads_sharing(pairs: Iterable[str], labels: Mapping[str, int]) -> int:
    """How many workloads of a node can at most carry all of `pairs` (each `key=value`)."""
    return min(labels.get(pair, 0) for pair in pairs)


def missing_pairs(term: Affinity, state: NodeState) -> list[str]:
    """The `key=value` pairs of a term that the node does not match."""
    if term.node_labels:
        return [
            f"{key}={value}"
            for key, value in term.node_labels.items()
            if key not in state.labels or value not in (ANY, state.labels[key])
        ]
    return [
        f"{key}={value}"
        for key, value in term.workload_labels.items()
        if not workloads_with(key, value, state.workload_labels)
    ]


def matches(term: Affinity, state: NodeState) -> bool:
    """Whether all pairs of the term hold on the node."""
    return not missing_pairs(term, state)


def why_excluded(spec: WorkloadSpec, state: NodeState) -> list[str]:
    """One phrase per required term that rules the node out: `label gpu=a100 missing`."""
    phrases = []
    for term in spec.affinity:
        if term.required:
            missing = missing_pairs(term, state)
            if term.node_labels:
                phrases += [f"label {pair} missing" for pair in missing]
            else:
                phrases += [f"no workload with {pair} (affinity)" for pair in missing]
    for term in spec.anti_affinity:
        if term.required and matches(term, state):
            phrases.append(_match_in_words(term, state))
    return phrases


def preference(
    affinity: Iterable[Affinity], anti_affinity: Iterable[Affinity], state: NodeState
) -> int:
    """The weights of the preferred terms that speak for the node."""
    return sum(
        term.weight for term in affinity if not term.required and matches(term, state)
    ) + sum(term.weight for term in anti_affinity if not term.required and not matches(term, state))


def identity(term: Affinity) -> tuple[object, ...]:
    """Hashable; equal for terms that say the same."""
    labels = term.node_labels or term.workload_labels
    return (
        bool(term.node_labels),
        tuple(sorted(labels.items())),
        None if term.required else term.weight,
    )


def _match_in_words(term: Affinity, state: NodeState) -> str:
    pairs = (term.node_labels or term.workload_labels).items()
    named = " and ".join(f"{key}={value}" for key, value in pairs)
    if term.node_labels:
        return f"has label {named} (anti-affinity)"
    count = min(workloads_with(key, value, state.workload_labels) for key, value in pairs)
    return f"has {count} workload{'s' if count != 1 else ''} with {named} (anti-affinity)"
