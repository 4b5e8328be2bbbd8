"""Square lattices, with skip connections if asked."""

from __future__ import annotations

from collections.abc import Sequence

from eqp_hw.errors import NetworkError
from eqp_hw.network.builders._assembly import BondBlocks
from eqp_hw.network.builders._checks import check_size, flag, is_list, whole_number
from eqp_hw.network.builders._grid import fits, grid_bonds, grid_positions, unique_offsets
from eqp_hw.network.builders._placement import GridPlacement, place_on_grid
from eqp_hw.network.graph import Network

__all__ = ["square_lattice"]


def square_lattice(
    rows: int,
    columns: int,
    inputs: GridPlacement = "left-edge",
    outputs: GridPlacement = "right-edge",
    periodic: bool = False,
    skips: Sequence[int] = (),
    diagonal_skips: bool = False,
) -> Network:
    """Couple nearest neighbours on a square lattice, and farther ones by skip connections.

    Longer skips keep the response to a nudge long-ranged, without which lattices learn
    poorly (arXiv 2601.21945).

    Parameters
    ----------
    rows, columns
        Size of the lattice; node (row, column) has number row·columns + column.
    inputs, outputs
        A list of node numbers or [row, column] pairs; or a place: "left-edge",
        "right-edge", "top-edge", "bottom-edge", "corners", "all", where "left-edge:4" takes
        four nodes evenly spaced along the edge; or a count, evenly spaced along the left
        (inputs) or right (outputs) edge.
    periodic
        Whether opposite edges are joined.
    skips
        Lengths, 2 or more, of additional bonds along rows and columns.
    diagonal_skips
        Whether the skips run along both diagonals too.

    Returns
    -------
    Network with the kinds "nearest", "skip-2" ... and, with diagonals, "skip-2-diagonal" ...

    Raises
    ------
    NetworkError
        A size, skip or node that does not fit.
    """
    shape = whole_number(rows, "network.rows"), whole_number(columns, "network.columns")
    ring = flag(periodic, "network.periodic")
    lengths = _skip_lengths(skips, shape, ring)
    diagonal = flag(diagonal_skips, "network.diagonal_skips")
    if diagonal and not lengths:
        raise NetworkError(
            "there are no skips to run along diagonals",
            field="network.diagonal_skips",
            value=True,
            allowed="true only with network.skips",
        )
    n = shape[0] * shape[1]
    check_size(2 * n * (1 + len(lengths) * (1 + diagonal)), "network.rows", shape[0])
    families = [("nearest", [(0, 1), (1, 0)])]
    for length in lengths:
        families.append((f"skip-{length}", [(0, length), (length, 0)]))
        if diagonal:
            families.append((f"skip-{length}-diagonal", [(length, length), (length, -length)]))
    blocks = BondBlocks()
    for kind, offsets in families:
        for offset in unique_offsets(shape, offsets, periodic=ring):
            blocks.add(grid_bonds(shape, offset, periodic=ring), kind)
    edges = "periodic" if ring else "open"
    skipped = "".join(f", skip {length}" for length in lengths)
    return blocks.network(
        n,
        place_on_grid(inputs, shape, "network.inputs", "left-edge"),
        place_on_grid(outputs, shape, "network.outputs", "right-edge"),
        positions=grid_positions(shape),
        name=f"square lattice {shape[0]} x {shape[1]}, {edges}{skipped}",
    )


def _skip_lengths(skips: object, shape: tuple[int, int], periodic: bool) -> list[int]:
    longest = max(size // 2 if periodic else size - 1 for size in shape)
    allowed = f"different lengths in 2..{longest}" if longest >= 2 else "none on this lattice"
    if not is_list(skips):
        raise NetworkError(
            "not a list of lengths", field="network.skips", value=skips, allowed=allowed
        )
    lengths = [
        whole_number(length, f"network.skips[{k}]", minimum=2) for k, length in enumerate(skips)
    ]
    for length in lengths:
        reachable = any(
            fits(shape, offset, periodic=periodic) for offset in ((0, length), (length, 0))
        )
        if not reachable:
            beyond = "half way around" if periodic else "the lattice"
            raise NetworkError(
                f"a skip of {length} is longer than {beyond}",
                field="network.skips",
                value=lengths,
                allowed=allowed,
            )
    if len(set(lengths)) < len(lengths):
        raise NetworkError(
            "a length is listed twice", field="network.skips", value=lengths, allowed=allowed
        )
    return lengths
