"""What a graph says in fewer nodes: the operators that runtimes are fast at, and weights that hold what is multiplied.

A trace knows no normalisation or activation, only what they are made of. Each pass finds one such form, node by node,
and only where nothing else reads what lies between; whatever it does not find is as right as before.
"""

from featcache.graphs.graph import Graph
from featcache.graphs.simplify.activations import activations
from featcache.graphs.simplify.normalisations import means, normalisations
from featcache.graphs.simplify.paddings import paddings
from featcache.graphs.simplify.pools import pools
from featcache.graphs.simplify.products import parts_of_products, patches
from featcache.graphs.simplify.transposes import transposes
from featcache.graphs.simplify.weights import factors_and_summands, inputs_into_weights, outputs_into_weights


def simplify(graph: Graph) -> None:
    """Simplify a graph in place."""
    graph.prune()
    for change in (
        means,
        pools,
        normalisations,
        activations,
        outputs_into_weights,
        patches,
        parts_of_products,
        transposes,
        paddings,
        inputs_into_weights,
        factors_and_summands,
    ):
        change(graph)
        graph.prune()
