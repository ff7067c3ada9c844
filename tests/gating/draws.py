"""What Hypothesis draws for the stateful test of the gate."""

from hypothesis import strategies as st

from tests.gating.stage import PEOPLE

TEMPLATES = {
    "day": ("quota", "account", "chat", "day", 86_400),
    "hour": ("quota", "user", "chat", "hour", 3600),
    "all": ("quota", "account", "*", "", 86_400),
    "each": ("quota", "user", "*", "", 86_400),
    "pace": ("rate", "user", "chat", "pace", 60),
    "burst": ("rate", "account", "*", "", 10),
    "team": ("seats", "account", "chat", "team", 0),
    "daily team": ("seats", "account", "*", "", 86_400),
}
QUOTAS = ("all", "each", "day", "hour")
FIRST_LIMITS = (100, 20, 50, 8, 200, 3, None)

users = st.sampled_from(sorted(PEOPLE))
accounts = st.sampled_from(sorted(set(PEOPLE.values())))
features = st.sampled_from([*["chat"] * 5, "draw", "draw", "ghost"])
estimates = st.sampled_from([None, 1, 2, 3, 0, 5, 8, 20, 60])
quantities = st.sampled_from([1, 2, 3, 5, 8, 21, 70, 1000])
terms = st.tuples(
    *[st.sampled_from([3, 1, 0, 2, 7, 10]), st.sampled_from([1, 2, 3, 7, 1000])] * 2
)
names = st.sampled_from([None, None, None, "a", "b", "c"])
amounts = st.sampled_from([1000, 5, 40, 200, 20_000])
places = st.integers(0, 255)
meters = st.one_of(
    st.just(()),
    st.lists(
        st.tuples(
            st.sampled_from(["chat", "tokens", "chat", "tokens", "draw"]),
            st.sampled_from([1, 0, 2, 5, 9, 40]),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
first_limits = st.sampled_from(FIRST_LIMITS)
limits = st.sampled_from((*FIRST_LIMITS, 1, 0))
quotas = st.tuples(st.sampled_from(QUOTAS), first_limits, st.booleans())
policies = st.tuples(st.sampled_from(sorted(TEMPLATES)), first_limits, st.booleans())
bundles = st.tuples(quotas, st.lists(policies, max_size=3)).map(lambda b: [b[0], *b[1]])
_others = st.fixed_dictionaries({}, optional={"tokens": terms, "draw": terms})
_chats = st.sampled_from([True, True, True, False]).flatmap(
    lambda priced: st.fixed_dictionaries({"chat": terms} if priced else {})
)
prices = st.tuples(_chats, _others).map(lambda both: both[0] | both[1])
