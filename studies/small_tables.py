"""What the book says of the small singular values of a transformer, from the tables of `studies.small_values`."""

from __future__ import annotations

import pandas as pd

from rmtlib.claims import Outcome

from .transformer import ROLES

__all__ = ["below", "damage_outcomes", "direction_outcomes", "energies", "level_outcomes", "smallest_tenth"]

RECTANGULAR = ["intermediate", "output"]  # a square matrix has no lower edge to lie below
WAYS = {"below": "as it is", "below_biwhitened": "sizes taken out"}
SMALLEST, MIDDLE = 0, (3, 4, 5, 6)
ERRORS = 2  # standard errors that a difference has to have


def below(levels: pd.DataFrame) -> pd.DataFrame:
    """Levels below the bulk of the rectangular matrices, and of noise with their sizes, in the sum over the blocks.

    Returns
    -------
    pandas.DataFrame
        Rows by role; columns by ``weights`` and whether sizes are taken out.
    """
    rows = _rectangular(levels).groupby(["role", "weights"])[list(WAYS)].sum().rename(columns=WAYS).astype(int)
    return rows.unstack("weights").swaplevel(axis=1).sort_index(axis=1, ascending=[False, True])


def level_outcomes(levels: pd.DataFrame) -> dict[str, Outcome | float]:
    """Numbers of levels below the bulk, and whether they are more than noise with the same sizes shows.

    That levels lie below is reproduced if, sizes taken out, more than half of the rectangular matrices have more of them than any
    of the matrices of noise.
    """
    counts = _rectangular(levels).pivot(index="layer", columns="weights", values=list(WAYS))
    taken = counts["below_biwhitened"]
    more = int((taken["trained"] > taken["noise"].max()).sum())
    found: dict[str, Outcome | float] = {
        "levels-below": Outcome(more > len(taken) / 2, more=more, matrices=len(taken)),
        "square": levels["layer"].nunique() - len(taken),
    }
    for weights in ("trained", "noise"):
        found[f"{weights}-as-it-is"] = counts["below", weights].sum()
        found[f"{weights}-taken"] = taken[weights].sum()
    return found


def energies(directions: pd.DataFrame, about: str = "mean") -> pd.DataFrame:
    """Relative energies along the vectors of each tenth, in the mean over the blocks: rows by role, columns by tenth from 1."""
    rows = directions[directions["about"] == about]
    table = rows.pivot_table(index="role", columns="decile", values="trained")
    return table.loc[list(ROLES)].rename(columns=lambda decile: decile + 1)


def direction_outcomes(directions: pd.DataFrame) -> dict[str, Outcome | float]:
    """Energies at both ends, how often they leave the band, and how often the nulls do (in per cent).

    Of a role, overlap at the small end is reproduced if in more than half of the blocks the energy about the mean along the
    smallest tenth is above the band of random directions.
    """
    rows = directions[directions["about"] == "mean"]
    null = pd.concat([~directions[kind].between(directions["low"], directions["high"]) for kind in ("noise", "turned")])
    found: dict[str, Outcome | float] = {"null-outside": 100 * null.mean()}
    ends = rows[rows["decile"].isin((SMALLEST, 9))]
    for (role, decile), part in ends.groupby(["role", "decile"]):
        above = int((part["trained"] > part["high"]).sum())
        numbers = {"energy": part["trained"].mean(), "above": above, "blocks": len(part)}
        if decile == SMALLEST:
            found[f"{role.replace('.', '-')}-small"] = Outcome(above > len(part) / 2, **numbers)
        elif role in RECTANGULAR:
            found[f"{role}-large"] = numbers["energy"]
    return found


def smallest_tenth(damage: pd.DataFrame) -> pd.DataFrame:
    """What the removal of the smallest tenth does: a row a role.

    Returns
    -------
    pandas.DataFrame
        ``ratio`` of its cost to that along random directions, and one ``error`` of a ratio of random directions; the ratio of
        ``centred`` embeddings; ``rank``: how many tenths cost more, plus one; share of the five nearest texts that are lost, in
        per cent: ``lost``, and ``at random``.
    """
    rows = damage[damage["weights"] == "trained"]
    rank = rows.groupby("role")["cost"].rank(ascending=False).astype(int)
    part = rows.assign(rank=rank)[rows["decile"] == SMALLEST].set_index("role").loc[list(ROLES)]
    table = {"ratio": part["ratio"], "error": _error(part), "centred": part["centred_ratio"], "rank": part["rank"]}
    return pd.DataFrame(table | {"lost": 100 * part["lost"], "at random": 100 * part["random_lost"]})


def damage_outcomes(damage: pd.DataFrame, directions: pd.DataFrame) -> dict[str, Outcome | float | str]:
    """What embeddings lose without the smallest tenth.

    Two sentences are judged for the roles together. ``small-matter``: along its own directions the smallest tenth costs more than
    along random ones; reproduced if it does so in more than half of the roles, by two errors. ``small-cost``: the smallest tenth
    costs more than a tenth of the middle; reproduced if it costs more than each of the fourth to the seventh in more than half of
    the roles.
    """
    trained, noise = (damage[damage["weights"] == weights] for weights in ("trained", "noise"))
    z = (noise["ratio"] - 1) / _error(noise)
    smallest = trained[trained["decile"] == SMALLEST].set_index("role")
    matter = smallest["ratio"] - 1 > ERRORS * _error(smallest)
    middle = trained[trained["decile"].isin(MIDDLE)].groupby("role")["cost"].max()
    more = smallest["cost"] > middle[smallest.index]
    energy = directions[directions["about"] == "zero"].groupby(["role", "decile"])["trained"].mean()
    both = trained.set_index(["role", "decile"]).join(energy)
    found: dict[str, Outcome | float | str] = {
        "null-ratios": len(z),
        "null-far": int((z.abs() > ERRORS).sum()),
        "null-lowest": noise["ratio"].min(),
        "null-highest": noise["ratio"].max(),
        "small-matter": Outcome(matter.sum() > len(matter) / 2, roles=int(matter.sum()), of=len(matter)),
        "small-matter-names": ", ".join(role for role in ROLES if matter[role]) or "none",
        "small-cost": Outcome(more.sum() > len(more) / 2, roles=int(more.sum()), of=len(more)),
        "rank-energy": both["ratio"].corr(both["trained"], method="spearman"),
    }
    for role in RECTANGULAR:
        found |= {f"{role}-ratio": smallest.loc[role, "ratio"], f"{role}-centred": smallest.loc[role, "centred_ratio"]}
    row, cost = smallest.loc["intermediate"], trained.loc[trained["role"] == "intermediate", "cost"]
    found["intermediate-beats"] = int((cost < row["cost"]).sum())
    found["intermediate-lost"] = Outcome(value=100 * row["lost"], error=100 * row["lost_error"])
    found["intermediate-random-lost"] = 100 * row["random_lost"]
    return found


def _error(rows: pd.DataFrame) -> pd.Series:
    """One standard deviation of a ratio of which the own directions are random ones too."""
    return (rows["ratio_error"] ** 2 + rows["draw_spread"] ** 2) ** 0.5


def _rectangular(levels: pd.DataFrame) -> pd.DataFrame:
    role = levels["layer"].str.partition(".")[2]
    return levels.assign(role=role)[role.isin(RECTANGULAR)]
