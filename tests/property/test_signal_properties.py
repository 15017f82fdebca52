"""Joining of Prometheus texts, and engines that stand still, whatever they say."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from router.recovery.stall import EngineProgress, StallWatch
from serve_app.metrics import label_exposition, merge_expositions

NAMES = st.sampled_from(["up", "up_total", "vllm:x", "vllm:x_seconds", "other"])
SAMPLES = st.sampled_from(['{a="1"} 2.0', '{a="# HELP {"} 3', " 4.5", '{a="x",le="+Inf"} NaN'])
AFTER_S = 30.0


@st.composite
def texts(draw) -> str:
    """Families with both lines of a header, with one, with none; remarks; an end or none."""
    lines = []
    for name in draw(st.lists(NAMES, max_size=6, unique=True)):
        header = draw(st.sampled_from(["both", "help", "type", "none", "turned"]))
        help_line, type_line = f"# HELP {name} Said of {name}.", f"# TYPE {name} gauge"
        lines += {
            "both": [help_line, type_line],
            "help": [help_line],
            "type": [type_line],
            "none": [],
            "turned": [type_line, help_line],
        }[header]
        if header == "none":
            # It would be taken for the family before it.
            lines.insert(0, f"{name} 1")
        else:
            lines += [name + x for x in draw(st.lists(SAMPLES, max_size=3))]
        lines += draw(st.sampled_from([[], ["# a remark"], [""]]))
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


def samples(text: str) -> list[str]:
    return [x for x in text.split("\n") if x and not x.startswith("#")]


def name_of(line: str) -> str:
    return (
        line.split(" ")[2]
        if line.startswith("#")
        else line.split("{", maxsplit=1)[0].split(" ", maxsplit=1)[0]
    )


@given(st.lists(texts(), max_size=4))
def test_joining_keeps_every_sample_and_each_family_in_one_piece(given_texts):
    """Its header once and in front, its samples of all sources behind it."""
    labelled = [label_exposition(x, {"r": str(i)}) for i, x in enumerate(given_texts)]

    joined = merge_expositions(labelled)

    assert Counter(samples(joined)) == Counter(x for text in labelled for x in samples(text))
    lines = [x for x in joined.split("\n") if x]
    names = [name_of(x) for x in lines]
    assert len(set(names)) == sum(x != y for x, y in zip(names, [None, *names], strict=False))
    headers = [tuple(x.split(" ")[1:3]) for x in lines if x.startswith("#")]
    assert len(headers) == len(set(headers))
    for index, line in enumerate(lines):
        if line.startswith("#") and index:
            assert lines[index - 1].startswith("#") or names[index - 1] != names[index]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 20),
            st.builds(
                EngineProgress,
                st.integers(0, 2),
                st.integers(0, 1),
                st.integers(0, 2),
                st.sampled_from([0.1, 0.2]),
            ),
        ),
        max_size=30,
    )
)
def test_an_engine_is_stalled_only_when_nothing_moved_for_so_long(looks):
    """By its history alone: the looks since the last sign of work, all with requests that wait."""
    watch, now, seen = StallWatch(AFTER_S), 0.0, []
    for pause, progress in looks:
        now += pause
        seen.append((now, progress))
        stalled_s = watch.observe(progress, now=now)

        still = []
        for at, one in reversed(seen):
            work = (one.tokens, one.running, one.kv_utilization)
            same = work == (progress.tokens, progress.running, progress.kv_utilization)
            if one.waiting <= 0 or not same:
                break
            still.append(at)
        lasted = now - still[-1] if still else 0.0
        assert (stalled_s is not None) == (bool(still) and lasted >= AFTER_S)
        assert stalled_s is None or stalled_s == lasted
